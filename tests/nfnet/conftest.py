from support.fixtures import quick_compilation as quick_compilation
from support.fixtures import x64 as x64

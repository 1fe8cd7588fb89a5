from support.fixtures import quick_compilation as quick_compilation

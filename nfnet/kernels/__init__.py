"""Operations behind one contract: a plain form, and one that XLA's CPU backend computes well."""

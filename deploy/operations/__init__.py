"""Operations on a deployment: load definitions, measure lag, wait, erase, rebuild, import, check prerequisites."""

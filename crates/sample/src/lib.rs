//! Writes a realistic backup together with the truth about it

//! Finds JSON events that were written one after another without a delimiter

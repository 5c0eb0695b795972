//! Decoding of backup objects, envelopes, and the NDJSON and Parquet writers

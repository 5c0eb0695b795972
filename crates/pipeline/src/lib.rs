//! Plans, recovers and audits a range of backups

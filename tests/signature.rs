//! The signature of a report is verified without asking anyone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Utc;
use event_recovery_pipeline::{
    ExecutionId, Ledger, LocalFolder, Sign, SignError, SignatureError, digest, sign_report, to_json,
};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::Value;
use support::{Sample, event_recovery};

const RANGE: [&str; 4] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-01T02:00:00Z",
];

/// What KMS does, with a key of this process.
struct LocalKey(SigningKey);

impl LocalKey {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn der(&self) -> Vec<u8> {
        let key = self.0.verifying_key();
        key.to_public_key_der().unwrap().as_bytes().to_vec()
    }
}

#[async_trait]
impl Sign for LocalKey {
    fn key(&self) -> &str {
        "arn:aws:kms:us-east-1:111122223333:key/local"
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        assert!(message.len() <= 4096, "KMS refuses {}", message.len());
        let signature: DerSignature = self.0.sign(message);
        Ok(signature.as_bytes().to_vec())
    }
}

/// A complete run in a folder.
struct SignedRun {
    sample: Sample,
    destination: PathBuf,
    ledger: Ledger,
}

impl SignedRun {
    fn new() -> Self {
        let sample = Sample::new(&["--hours", "2", "--object-bytes", "20KiB"]);
        let destination = sample.destination("recovered");
        let (report, code) = sample.run(&destination, &RANGE);
        assert_eq!(code, Some(0), "{report}");
        let ledger = Ledger::new(ExecutionId::parse("run").unwrap());
        Self {
            sample,
            destination,
            ledger,
        }
    }

    fn sign(&self, key: &LocalKey) -> Result<(), SignatureError> {
        let storage = LocalFolder::new(&self.destination, self.sample.destination("staging"));
        let signing = sign_report(&storage, &self.ledger, key, Utc::now());
        tokio::runtime::Runtime::new().unwrap().block_on(signing)
    }

    fn key_file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.sample.destination(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The exit code, and what was printed.
    fn verify(&self, key: &Path) -> (i32, Value) {
        let output = event_recovery()
            .args(["verify-signature", "--json", "--execution-id", "run"])
            .arg("--destination")
            .arg(&self.destination)
            .arg("--public-key")
            .arg(key)
            .output()
            .unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), json)
    }

    fn record(&self, key: &str) -> PathBuf {
        self.destination.join(key)
    }
}

#[test]
fn a_signed_report_is_verified_with_each_form_of_the_public_key() {
    let run = SignedRun::new();
    let key = LocalKey::new(7);
    run.sign(&key).unwrap();
    let pem = key
        .0
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    for (name, content) in [
        ("key.pem", pem.into_bytes()),
        ("key.der", key.der()),
        (
            "key.txt",
            format!("{}\n", BASE64.encode(key.der())).into_bytes(),
        ),
    ] {
        let (code, found) = run.verify(&run.key_file(name, &content));
        assert_eq!(
            (code, &found["verified"]),
            (0, &Value::Bool(true)),
            "{name}: {found}"
        );
        assert_eq!(found["signed"]["verdict"], "complete");
        assert_eq!(found["signed"]["execution_id"], "run");
    }
    let other = run.key_file("other.der", &LocalKey::new(8).der());
    let (code, found) = run.verify(&other);
    assert_eq!(
        (code, &found["verified"]),
        (3, &Value::Bool(false)),
        "{found}"
    );
    for (name, content) in [("no.key", &b"no key"[..]), ("empty.key", b"")] {
        assert_eq!(run.verify(&run.key_file(name, content)).0, 2, "{name}");
    }
    assert_eq!(run.verify(Path::new("/nowhere/key")).0, 1);
}

#[test]
fn a_report_that_is_not_signed_is_not_verified() {
    let run = SignedRun::new();
    let key = run.key_file("key.der", &LocalKey::new(7).der());
    let (code, found) = run.verify(&key);
    assert_eq!(code, 3);
    assert!(
        found["problems"][0]
            .as_str()
            .unwrap()
            .contains("not signed"),
        "{found}"
    );
}

#[test]
fn every_change_after_the_signature_is_seen() {
    let run = SignedRun::new();
    let local = LocalKey::new(7);
    run.sign(&local).unwrap();
    let key = run.key_file("key.der", &local.der());
    let receipts = support::files(&run.destination.join("_recovery/run/receipts"));
    let receipt = format!(
        "_recovery/run/receipts/{}",
        receipts.keys().next().unwrap().display()
    );
    let outputs = support::files(&run.destination.join("execution_id=run"));
    let output = outputs
        .keys()
        .find(|path| path.extension().is_some())
        .unwrap();
    let output = format!("execution_id=run/{}", output.display());
    for record in [
        run.ledger.report_key(),
        run.ledger.digests_key(),
        run.ledger.signature_key(),
        run.ledger.plan_key(),
        receipt.clone(),
    ] {
        let path = run.record(&record);
        let before = fs::read(&path).unwrap();
        let text = String::from_utf8(before.clone()).unwrap();
        // Valid JSON as before, with another digit.
        let digit = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
        let mut changed = before.clone();
        changed[digit] = if changed[digit] == b'1' { b'2' } else { b'1' };
        fs::write(&path, changed).unwrap();
        let (code, found) = run.verify(&key);
        assert_ne!(code, 0, "{record}: {found}");
        fs::write(&path, before).unwrap();
        assert_eq!(run.verify(&key).0, 0, "{record}");
    }
    for removed in [receipt, output] {
        let path = run.record(&removed);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (code, found) = run.verify(&key);
        assert_eq!(code, 3, "{removed}: {found}");
        fs::write(&path, before).unwrap();
    }
    assert_eq!(run.verify(&key).0, 0);
}

#[test]
fn the_signature_of_an_older_report_does_not_hold_for_a_newer_one() {
    let run = SignedRun::new();
    let local = LocalKey::new(7);
    run.sign(&local).unwrap();
    let key = run.key_file("key.der", &local.der());
    let again = event_recovery()
        .args(["report", "--execution-id", "run", "--destination"])
        .arg(&run.destination)
        .status()
        .unwrap();
    assert!(again.success());
    let (code, found) = run.verify(&key);
    assert_eq!(code, 3);
    assert!(
        found["problems"][0]
            .as_str()
            .unwrap()
            .contains("is not what was signed"),
        "{found}"
    );
    run.sign(&local).unwrap();
    assert_eq!(run.verify(&key).0, 0);
}

/// A year later the program has another version, and counts what this one did not know of.
#[test]
fn software_of_another_version_verifies_what_was_signed() {
    let run = SignedRun::new();
    let (report, digests) = (run.ledger.report_key(), run.ledger.digests_key());
    let path = run.record(&report);
    let mut old: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    old["software"] = "event-recovery 0.0.9".into();
    old.as_object_mut().unwrap().remove("kinds");
    let bytes = serde_json::to_vec_pretty(&old).unwrap();
    fs::write(&path, &bytes).unwrap();
    let mut known: Value =
        serde_json::from_slice(&fs::read(run.record(&digests)).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("times");
    let mut without_times = serde_json::to_vec_pretty(&old).unwrap();
    without_times.push(b'\n');
    known["report"] = digest(&without_times).into();
    known.as_object_mut().unwrap().remove("digest");
    fs::write(run.record(&digests), to_json(&digests, &known).unwrap()).unwrap();
    let local = LocalKey::new(7);
    run.sign(&local).unwrap();
    let key = run.key_file("key.der", &local.der());
    let (code, found) = run.verify(&key);
    assert_eq!(code, 0, "{found}");
}

#[test]
fn the_signature_of_another_run_does_not_hold() {
    let run = SignedRun::new();
    let local = LocalKey::new(7);
    run.sign(&local).unwrap();
    let other = event_recovery()
        .args([
            "run",
            "--org-id",
            support::ORG_ID,
            "--execution-id",
            "other",
            "--quiet",
        ])
        .arg("--source")
        .arg(run.sample.backup())
        .arg("--destination")
        .arg(&run.destination)
        .args(RANGE)
        .status()
        .unwrap();
    assert!(other.success());
    let signature = run.record(&run.ledger.signature_key());
    fs::copy(signature, run.record("_recovery/other/signature.json")).unwrap();
    let key = run.key_file("key.der", &local.der());
    let output = event_recovery()
        .args([
            "verify-signature",
            "--execution-id",
            "other",
            "--destination",
        ])
        .arg(&run.destination)
        .arg("--public-key")
        .arg(key)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("NOT VERIFIED: what was signed is about the run `run`"),
        "{said}"
    );
}

//! An emulator of AWS for the tests of this crate: one for each test program.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use event_recovery_aws::{SdkConfig, SessionSettings, session};

/// Ends when its stdin is closed, which is at the latest when this process ends.
struct Emulator {
    url: String,
    _process: Child,
}

static EMULATOR: OnceLock<Emulator> = OnceLock::new();

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn start() -> Emulator {
    let python = root().join(".venv/bin/python");
    let folder = root().join(format!("target/emulator/{}", std::process::id()));
    let mut process = Command::new(&python)
        .arg(root().join("tests/e2e/emulator.py"))
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make test`", python.display()));
    let mut url = String::new();
    let stdout = process.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut url).unwrap();
    let url = url.trim().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "it did not start");
    Emulator {
        url,
        _process: process,
    }
}

/// A session that reaches the emulator.
pub(crate) async fn emulated() -> SdkConfig {
    let emulator = tokio::task::spawn_blocking(|| EMULATOR.get_or_init(start));
    let endpoint_url = emulator.await.unwrap().url.clone();
    // Credentials like those of a function, which come from the environment there.
    let settings = SessionSettings {
        profile: None,
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(endpoint_url),
    };
    let credentials = aws_sdk_s3::config::Credentials::new("test", "test", None, None, "test");
    let provider = aws_sdk_s3::config::SharedCredentialsProvider::new(credentials);
    let config = session(&settings).await.into_builder();
    config.credentials_provider(provider).build()
}

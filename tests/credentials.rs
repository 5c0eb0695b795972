//! Where the command line finds credentials: in the profiles that people at a bank log in with.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../crates/aws/tests/stand_in/mod.rs"]
mod stand_in;
mod support;

use std::fs;
use std::process::Output;

use stand_in::{Reply, StandIn};
use support::event_recovery;
use tempfile::TempDir;

const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

/// A home folder with a configuration of the AWS tools, and a stand-in for AWS.
struct Home {
    folder: TempDir,
    aws: StandIn,
}

impl Home {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".aws")).unwrap();
        fs::write(folder.path().join(".aws/config"), config).unwrap();
        let aws = StandIn::new(|request| match request.path.as_str() {
            "/" => Reply::Answer(200, ASSUMED.to_owned()),
            _ => Reply::Answer(404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        });
        Self { folder, aws }
    }

    fn status(&self, options: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = event_recovery();
        command
            .args(["status", "--destination", "s3://b/p", "--execution-id", "x"])
            .args(["--region", "us-east-1"])
            .args(options)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_ENDPOINT_URL", &self.aws.url)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// The access keys that requests to S3 were signed with.
    fn signed_with(&self) -> Vec<String> {
        let requests = self.aws.requests("/b");
        let mut keys: Vec<String> = requests
            .iter()
            .map(|request| {
                let signed = request.header("authorization").unwrap();
                let (_, key) = signed.split_once("Credential=").unwrap();
                key.split('/').next().unwrap().to_owned()
            })
            .collect();
        keys.dedup();
        keys
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_profile_may_have_a_program_that_prints_credentials() {
    let printed = r#"{"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "s", "SessionToken": "t"}"#;
    let home = Home::new(&format!(
        "[profile bank]\ncredential_process = echo '{printed}'\n"
    ));
    for (options, environment) in [
        (vec!["--profile", "bank"], vec![]),
        (vec![], vec![("AWS_PROFILE", "bank")]),
    ] {
        let output = home.status(&options, &environment);
        assert!(said(&output).contains("no run `x`"), "{}", said(&output));
        assert_eq!(home.signed_with(), ["AKIDPROCESS"]);
    }
}

#[test]
fn a_program_that_fails_is_told_without_what_it_printed() {
    for (program, told) in [
        ("sh -c 'echo hunter2 >&2; exit 3'", "exit status: 3"),
        ("echo hunter2", "no credentials that can be read"),
    ] {
        let home = Home::new(&format!("[profile bank]\ncredential_process = {program}\n"));
        let output = home.status(&["--profile", "bank"], &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told) && said.contains("hint: "), "{said}");
        assert!(said.contains("credential_process"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_login_that_is_missing_or_has_expired_says_how_to_log_in() {
    let home = Home::new(
        "[profile bank]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = reader\n\
         [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://example.com/start\n",
    );
    let cache = home.folder.path().join(".aws/sso/cache");
    // The SHA-1 of the session's name.
    let token = cache.join("ee0bfd2552fbd840c02cc48b6e823320543c450f.json");
    for is_cached in [false, true] {
        if is_cached {
            fs::create_dir_all(&cache).unwrap();
            let expired = r#"{"accessToken": "hunter2", "expiresAt": "2020-01-01T00:00:00Z"}"#;
            fs::write(&token, expired).unwrap();
        }
        let output = home.status(&["--profile", "bank"], &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no valid SSO token"), "{said}");
        assert!(
            said.contains("aws sso login") && said.contains("--profile"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_web_identity_is_exchanged_for_credentials() {
    let home = Home::new("");
    let token = home.folder.path().join("token");
    fs::write(&token, "a-token").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader"),
    ];
    let output = home.status(&[], &environment);
    assert!(said(&output).contains("no run `x`"), "{}", said(&output));
    assert_eq!(home.signed_with(), ["AKIDWEB"]);
}

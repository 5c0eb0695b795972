//! The one place that decides what an error of the SDK means.

use std::borrow::Cow;
use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::RequestId as _;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_checksums::body::validate;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use event_recovery_pipeline::{
    Circumstances, Problem, RequestId, StorageError, StorageOperation, Subject,
};

use crate::endpoint::Unreached;
use crate::request_id;
use crate::side::Side;

/// What a request was for, which decides which permission it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Storage(Side, StorageOperation),
    AssumeRole,
    /// An object's key of AWS KMS, in the course of whatever was done with the object.
    Decrypt(Side),
    /// A request to another service.
    Other,
}

impl Attempt {
    /// The bucket that it was about; the destination where it was about none.
    fn side(self) -> Side {
        match self {
            Self::Storage(side, _) | Self::Decrypt(side) => side,
            Self::AssumeRole | Self::Other => Side::Destination,
        }
    }
}

/// Turns an error of the SDK into one of the pipeline: whether a retry may succeed, and what to do.
pub(crate) fn storage_error<E>(
    side: Side,
    operation: StorageOperation,
    key: &str,
    error: SdkError<E, HttpResponse>,
) -> StorageError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (problem, hint) = judge_sdk(Attempt::Storage(side, operation), &error);
    let subject = subject(side, hint.as_deref());
    StorageError::new(operation, key, problem).under(circumstances(hint, error).about(subject))
}

/// What the hint asks for a permission on.
fn subject(side: Side, hint: Option<&str>) -> Subject {
    match hint {
        Some(hint) if hint == missing_permission(Attempt::AssumeRole) => Subject::Role,
        Some(hint) if hint == missing_permission(Attempt::Decrypt(side)) => Subject::Key,
        _ => Subject::Storage,
    }
}

/// Turns an error in the middle of a body into one of the pipeline; `request_id` of the answer that the body
/// belongs to.
pub(crate) fn stream_error(
    key: &str,
    error: impl Error + Send + Sync + 'static,
    request_id: Option<RequestId>,
) -> StorageError {
    let (problem, hint) = if causes(&error).any(|cause| cause.is::<validate::Error>()) {
        let problem = "its content does not match the checksum that S3 keeps for it";
        let hint = "read it once more; if that fails too, it is damaged where it is stored: put an intact copy in its place";
        (Problem::Damaged(problem.to_owned()), Some(hint.to_owned()))
    } else {
        (Problem::Transient(innermost(&error).to_string()), None)
    };
    let circumstances = Circumstances::new(hint, request_id);
    StorageError::new(StorageOperation::Read, key, problem).under(circumstances.caused_by(error))
}

fn circumstances<E>(
    hint: Option<Cow<'static, str>>,
    error: SdkError<E, HttpResponse>,
) -> Circumstances
where
    E: Error + Send + Sync + 'static,
{
    let request_id = request_id::of_error(&error).or_else(|| of_assumed_role(&error));
    Circumstances::new(hint.map(Cow::into_owned), request_id).caused_by(error)
}

/// The id of the request for a role's credentials, which fails before the request itself is sent.
fn of_assumed_role(error: &(dyn Error + 'static)) -> Option<RequestId> {
    let refused = causes(error).find_map(|cause| cause.downcast_ref::<AssumeRoleError>())?;
    Some(RequestId {
        id: refused.meta().request_id()?.to_owned(),
        extended_id: None,
    })
}

/// The error and its causes, the innermost last.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// The error of a request to another service than S3.
pub(crate) struct Described {
    /// The service's error code, or the innermost cause.
    pub(crate) problem: String,
    pub(crate) is_transient: bool,
    pub(crate) circumstances: Circumstances,
}

pub(crate) fn described<E>(error: SdkError<E, HttpResponse>) -> Described
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (problem, hint) = judge_sdk(Attempt::Other, &error);
    Described {
        problem: problem.to_string(),
        is_transient: matches!(problem, Problem::Transient(_)),
        circumstances: circumstances(hint, error),
    }
}

/// Whether the service may have received the request although it did not answer with success.
#[cfg(feature = "deployment")]
pub(crate) fn may_have_arrived<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + Error + 'static,
{
    matches!(judge_sdk(Attempt::Other, error).0, Problem::Transient(_))
}

type Judgement = (Problem, Option<Cow<'static, str>>);

fn judge_sdk<E>(attempt: Attempt, error: &SdkError<E, HttpResponse>) -> Judgement
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        .unwrap_or_default();
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    match error {
        SdkError::ServiceError(_) => {
            let message = error
                .as_service_error()
                .and_then(ProvideErrorMetadata::message)
                .unwrap_or_default();
            judge(attempt, code, status, message.contains("kms:"))
        }
        SdkError::ResponseError(_) => judge(attempt, code, status, false),
        SdkError::TimeoutError(_) => unanswered("it took too long".to_owned(), error),
        _ => judge_unsent(error),
    }
}

/// A request that got no answer: the connection, the credentials or the settings failed.
fn judge_unsent(error: &(dyn Error + 'static)) -> Judgement {
    let refused = causes(error).find_map(|cause| cause.downcast_ref::<AssumeRoleError>());
    if let Some(refused) = refused {
        let code = refused.code().unwrap_or_default();
        return match judge(Attempt::AssumeRole, code, None, false) {
            // An STS error with an unknown code may be transient.
            (Problem::Permanent(detail), _) => (Problem::Transient(detail), None),
            judgement => judgement,
        };
    }
    if causes(error).any(|cause| cause.to_string().contains("SSO token")) {
        let hint = "log in again with `aws sso login`, for the profile that is set by `--profile` or `AWS_PROFILE`";
        let detail = "there is no valid SSO token";
        return (Problem::AccessDenied(detail.to_owned()), Some(hint.into()));
    }
    if let Some(detail) = causes(error).find_map(|cause| of_credential_process(&cause.to_string()))
    {
        let hint = "run the `credential_process` of the profile by hand and see what it prints";
        return (Problem::Transient(detail), Some(hint.into()));
    }
    let detail = innermost(error).to_string();
    for setting in ["region", "endpoint", "credential"] {
        // Neither is there once a connection was tried, so the words are the SDK's own.
        if detail.contains(&format!("no {setting}")) || detail.contains(&format!("{setting} must"))
        {
            let hint = "check region, endpoint and credentials";
            return (Problem::Permanent(detail), Some(hint.into()));
        }
    }
    unanswered(detail, error)
}

/// What the SDK says of a program that gave no credentials, without what the program printed: that may be secret.
fn of_credential_process(text: &str) -> Option<String> {
    let at = text.find("external process")?;
    let said = text[at..].split(['\n', '.', ',']).next()?;
    let said = match said.starts_with("external process exited") {
        true => said,
        false => "external process: it gave no credentials that can be read",
    };
    Some(format!("credentials from an {said}"))
}

/// What to check when nothing answers. Transient, since the network of the machine may recover.
fn unanswered(detail: String, error: &(dyn Error + 'static)) -> Judgement {
    let unreached = causes(error).find_map(|cause| cause.downcast_ref::<Unreached>());
    let Some(Unreached { endpoint, .. }) = unreached else {
        // Before the request itself: the provider of the credentials did not answer.
        let hint = "check region, endpoint and where the credentials come from, and that all of them can be reached from here (DNS, VPC endpoint, proxy, firewall)";
        return (Problem::Transient(detail), Some(hint.into()));
    };
    let region = match &endpoint.region {
        Some(region) => format!("the region `{region}`"),
        None => "the region".to_owned(),
    };
    let hint = format!(
        "check {region} and the endpoint, and that `{}` resolves and can be reached from here (DNS, VPC endpoint, proxy, firewall)",
        endpoint.host
    );
    let detail = format!("no answer from `{}`: {detail}", endpoint.host);
    (Problem::Transient(detail), Some(hint.into()))
}

/// What S3, STS and KMS mean by a code and a status ("Error responses" in the S3 API reference).
fn judge(attempt: Attempt, code: &str, status: Option<u16>, is_about_kms: bool) -> Judgement {
    let permanent = |hint: &'static str| (Problem::Permanent(code.to_owned()), Some(hint.into()));
    let side = attempt.side();
    let transient = || (Problem::Transient(words(code, status)), None);
    match (code, status) {
        ("NoSuchKey" | "NotFound", _) => (Problem::Gone, None),
        ("NoSuchBucket", _) => permanent(match side {
            Side::Source => "there is no such bucket: check the name and the region of the source",
            Side::Destination => {
                "there is no such bucket: check the name and the region of the destination"
            }
        }),
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, Some(301 | 307)) => permanent(match side {
            Side::Source => {
                "the bucket is in another region: set the region of the source (`--source-region`, parameter `SourceRegion`)"
            }
            Side::Destination => {
                "the bucket is in another region: give the region of the destination (`--region`), or deploy the stack in the region of its destination bucket"
            }
        }),
        ("InvalidObjectState", _) => permanent(
            "the object is in an archived storage class: have it restored, then run the same request with the same execution id again",
        ),
        ("KMS.DisabledException" | "KMS.NotFoundException" | "KMS.KMSInvalidStateException", _) => {
            permanent(match side {
                Side::Source => {
                    "the KMS key of the source is disabled or gone: have its administrator look"
                }
                Side::Destination => {
                    "the KMS key of the destination is disabled or gone: have its administrator look"
                }
            })
        }
        ("PreconditionFailed", _) | (_, Some(412)) => (
            Problem::Changed,
            Some("start a new run, which plans the object as it is now".into()),
        ),
        _ if is_transient(code) => transient(),
        (_, Some(408 | 409 | 429 | 500..)) => transient(),
        ("AccessDenied" | "AccessDeniedException" | "AllAccessDisabled" | "Forbidden", _)
        | (_, Some(401 | 403)) => {
            let attempt = if is_about_kms {
                Attempt::Decrypt(side)
            } else {
                attempt
            };
            let detail = words(code, status);
            (
                Problem::AccessDenied(detail),
                Some(missing_permission(attempt).into()),
            )
        }
        _ => (Problem::Permanent(words(code, status)), None),
    }
}

/// Throttling, faults of the service, and credentials that refresh on their own.
fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
            | "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "RequestTimeout"
            | "InternalError"
            | "ServiceUnavailable"
            | "ConditionalRequestConflict"
            | "OperationAborted"
            // An upload that an earlier, unanswered request has completed; below, damage in transit.
            | "NoSuchUpload"
            | "BadDigest"
            | "IncompleteBody"
            | "XAmzContentChecksumMismatch"
            | "KMS.ThrottlingException"
    )
}

/// Which permission is missing on which side.
fn missing_permission(attempt: Attempt) -> &'static str {
    use Side::{Destination, Source};
    use StorageOperation::{List, Read, Remove, Write};
    match attempt {
        Attempt::Storage(Source, List) => {
            "allow `s3:ListBucket` on the source bucket to the role that lists it, in the role's policy and, across accounts, in the bucket's"
        }
        Attempt::Storage(Destination, List) => {
            "allow `s3:ListBucket` on the destination bucket to the role that lists it, in the role's policy and, across accounts, in the bucket's"
        }
        Attempt::Storage(Source, Read) => {
            "denied or gone: allow `s3:GetObject` on the objects of the source in the role's policy and, across accounts, in the bucket's, and `kms:Decrypt` on its key in the role's policy and in the key's (an object may have an older key than the bucket has now)"
        }
        Attempt::Storage(Destination, Read) => {
            "denied or gone: allow `s3:GetObject` on the destination's ledger in the role's policy and, across accounts, in the bucket's, and `kms:Decrypt` on its key in the role's policy and in the key's"
        }
        Attempt::Decrypt(Source) => {
            "allow `kms:Decrypt` on the key of the source, with which the object was encrypted, in the role's policy and in the key's; name each such key where keys are set (`SourceKmsKeyArn`)"
        }
        Attempt::Decrypt(Destination) => {
            "allow `kms:Decrypt` and, to write, `kms:GenerateDataKey` on the key of the destination, in the role's policy and in the key's"
        }
        Attempt::Storage(_, Write) => {
            "allow `s3:PutObject` and `s3:AbortMultipartUpload` on the destination, and `kms:GenerateDataKey` and `kms:Decrypt` on its key"
        }
        Attempt::Storage(_, Remove) => {
            "allow `s3:DeleteObject` at the destination on the run's `_SUCCESS`, `refused.json` and `checkpoint.json`, and on its mark in `_recovery/_provisional/`"
        }
        Attempt::AssumeRole => {
            "allow `sts:AssumeRole` on the role to whoever assumes it, and have the role's trust policy name that principal and the external id that is set"
        }
        Attempt::Other => "allow the action to the role in use",
    }
}

fn words(code: &str, status: Option<u16>) -> String {
    match (code, status) {
        ("", Some(status)) => format!("HTTP status {status}"),
        ("", None) => "no answer that can be read".to_owned(),
        (code, _) => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Attempt = Attempt::Storage(Side::Source, StorageOperation::List);
    const READ: Attempt = Attempt::Storage(Side::Source, StorageOperation::Read);
    const WRITE: Attempt = Attempt::Storage(Side::Destination, StorageOperation::Write);
    const REMOVE: Attempt = Attempt::Storage(Side::Destination, StorageOperation::Remove);

    #[test]
    fn a_hint_speaks_of_the_bucket_that_it_is_about() {
        let sides = [
            (Side::Source, "source", "destination"),
            (Side::Destination, "destination", "source"),
        ];
        let codes = [
            ("PermanentRedirect", 301, false),
            ("AuthorizationHeaderMalformed", 400, false),
            ("", 307, false),
            ("NoSuchBucket", 404, false),
            ("KMS.DisabledException", 400, false),
            ("AccessDenied", 403, false),
            ("AccessDenied", 403, true),
        ];
        for (side, named, other) in sides {
            for operation in [StorageOperation::List, StorageOperation::Read] {
                for (code, status, is_about_kms) in codes {
                    let attempt = Attempt::Storage(side, operation);
                    let (_, hint) = judge(attempt, code, Some(status), is_about_kms);
                    let hint = hint.unwrap_or_default();
                    assert!(hint.contains(named), "{code} {status}: {hint}");
                    assert!(!hint.contains(other), "{code} {status}: {hint}");
                }
            }
        }
    }

    #[test]
    fn every_failure_says_whether_to_try_again_and_what_to_do() {
        let rows = [
            ("list denied", LIST, "AccessDenied", 403, "s3:ListBucket"),
            ("get denied", READ, "AccessDenied", 403, "s3:GetObject"),
            ("put denied", WRITE, "AccessDenied", 403, "s3:PutObject"),
            (
                "delete denied",
                REMOVE,
                "AccessDenied",
                403,
                "s3:DeleteObject",
            ),
            (
                "assume denied",
                Attempt::AssumeRole,
                "AccessDenied",
                403,
                "external id",
            ),
            ("archived", READ, "InvalidObjectState", 403, "archived"),
            ("other region", LIST, "PermanentRedirect", 301, "region"),
            (
                "other region, later",
                READ,
                "AuthorizationHeaderMalformed",
                400,
                "region",
            ),
            ("no bucket", LIST, "NoSuchBucket", 404, "bucket"),
            ("changed", READ, "PreconditionFailed", 412, "new run"),
            ("key off", READ, "KMS.DisabledException", 400, "KMS key"),
        ];
        for (name, attempt, code, status, hint) in rows {
            let (problem, found) = judge(attempt, code, Some(status), false);
            assert!(!matches!(problem, Problem::Transient(_)), "{name}");
            assert!(
                found.as_deref().unwrap_or_default().contains(hint),
                "{name}: {found:?}"
            );
        }
        let (_, decrypt) = judge(READ, "AccessDenied", Some(403), true);
        assert!(decrypt.unwrap_or_default().contains("kms:Decrypt"));
        for (code, status) in [
            ("SlowDown", 503),
            ("", 503),
            ("InternalError", 500),
            ("", 502),
            ("ExpiredToken", 400),
            ("RequestTimeTooSkewed", 403),
            ("ThrottlingException", 400),
            ("ConditionalRequestConflict", 409),
            ("", 429),
            ("NoSuchUpload", 404),
            ("BadDigest", 400),
        ] {
            let (problem, _) = judge(READ, code, Some(status), false);
            assert!(matches!(problem, Problem::Transient(_)), "{code} {status}");
        }
        assert_eq!(judge(READ, "NoSuchKey", Some(404), false).0, Problem::Gone);
    }
}

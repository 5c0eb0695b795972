//! What all targets of deliveries have in common.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use event_recovery_pipeline::{Fate, Outgoing, TargetError, digest};

use crate::failure::described;

/// The longest message group id ("Amazon SQS message quotas" in the developer guide); shorter than a partition key may be.
const GROUP_BYTES_MAX: usize = 128;
/// Codes of entries that may succeed later, whoever is said to be at fault.
const LATER: [&str; 9] = [
    "RequestThrottled",
    "ThrottlingException",
    "ThrottledException",
    "Throttling",
    "InternalError",
    "InternalFailure",
    "InternalException",
    "ServiceUnavailable",
    "ProvisionedThroughputExceededException",
];

/// A configuration whose clients send each request once. A repetition that nobody counts would be one more event that may be
/// sent twice; deliveries repeat by themselves.
pub(crate) fn without_retries(config: &SdkConfig) -> SdkConfig {
    config
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .build()
}

/// A request that failed as a whole.
pub(crate) fn target_failed<E>(target: &str, error: SdkError<E, HttpResponse>) -> TargetError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let described = described(error);
    TargetError::new(target, described.problem, described.is_transient)
        .under(described.circumstances)
}

/// The fate of an entry that failed with this code.
pub(crate) fn fate_of_failed(code: &str, is_senders_fault: bool) -> Fate {
    let is_later = LATER.iter().any(|later| code.ends_with(later));
    match is_senders_fault && !is_later {
        true => Fate::Refused {
            reason: format!("the target refuses it: {code}"),
        },
        false => Fate::Delayed {
            reason: code.to_owned(),
        },
    }
}

/// The fate of each of so many entries, by what the target answered for their numbers.
pub(crate) fn settle(entries: usize, answered: impl Iterator<Item = (String, Fate)>) -> Vec<Fate> {
    let unknown = || Fate::Delayed {
        reason: "the target did not say what became of it".to_owned(),
    };
    let mut fates: Vec<Fate> = (0..entries).map(|_| unknown()).collect();
    for (id, fate) in answered {
        if let Some(known) = id.parse::<usize>().ok().and_then(|id| fates.get_mut(id)) {
            *known = fate;
        }
    }
    fates
}

/// Whether the event holds U+FFFE or U+FFFF. Other characters that SQS does not take can't be in JSON.
pub(crate) fn has_forbidden(event: &[u8]) -> bool {
    event
        .windows(3)
        .any(|bytes| matches!(bytes, [0xef, 0xbf, 0xbe | 0xbf]))
}

/// What keeps an event in order: the group that was asked for, or its object.
pub(crate) fn fifo_group(event: &Outgoing) -> String {
    let group = match &event.group {
        Some(group) => group.as_str(),
        None => event
            .place
            .rsplit_once('/')
            .map_or("", |(object, _)| object),
    };
    let is_plain = |c: char| c.is_ascii_graphic();
    match !group.is_empty() && group.len() <= GROUP_BYTES_MAX && group.chars().all(is_plain) {
        true => group.to_owned(),
        false => plain_digest(group),
    }
}

/// A digest of letters and digits alone.
pub(crate) fn plain_digest(text: &str) -> String {
    digest(text.as_bytes())
        .trim_start_matches("sha256:")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(group: Option<&str>) -> Outgoing {
        Outgoing {
            event: b"{}".to_vec(),
            event_id: None,
            event_type: None,
            group: group.map(str::to_owned),
            place: "run/delivery/task/7".to_owned(),
        }
    }

    #[test]
    fn only_two_characters_of_valid_text_are_forbidden() {
        assert!(has_forbidden("a\u{fffe}".as_bytes()));
        assert!(has_forbidden("\u{ffff}b".as_bytes()));
        assert!(!has_forbidden(
            "\u{fffd}\u{10000}\u{e000}\\uffff".as_bytes()
        ));
    }

    #[test]
    fn a_group_is_one_that_every_target_takes() {
        assert_eq!(fifo_group(&outgoing(Some("account-7"))), "account-7");
        assert_eq!(fifo_group(&outgoing(None)), "run/delivery/task");
        for odd in ["", "a b", "é", &"x".repeat(129)] {
            let group = fifo_group(&outgoing(Some(odd)));
            assert_eq!(group.len(), 64, "{odd}: {group}");
        }
    }

    #[test]
    fn an_entry_without_an_answer_is_sent_again_and_throttling_is_no_refusal() {
        let sent = Fate::Sent { message_id: None };
        let answered = [
            ("2".to_owned(), sent.clone()),
            (
                "0".to_owned(),
                fate_of_failed("InvalidMessageContents", true),
            ),
            ("9".to_owned(), sent.clone()),
            ("x".to_owned(), sent.clone()),
        ];
        let fates = settle(4, answered.into_iter());
        assert!(matches!(fates[0], Fate::Refused { .. }));
        assert!(matches!(fates[1], Fate::Delayed { .. }));
        assert_eq!(fates[2], sent);
        assert!(matches!(fates[3], Fate::Delayed { .. }));
        for (code, is_fault) in [
            ("AWS.SimpleQueueService.RequestThrottled", true),
            ("Any", false),
        ] {
            assert!(
                matches!(fate_of_failed(code, is_fault), Fate::Delayed { .. }),
                "{code}"
            );
        }
    }
}

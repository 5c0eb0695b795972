//! What an org id of the platform looks like.

/// Lengths in bytes of the five groups of a UUID in its text form (RFC 9562, section 4).
const UUID_GROUP_BYTES: [usize; 5] = [8, 4, 4, 4, 12];

/// Whether `text` is a UUID in its text form: hex digits of any case in groups of 8-4-4-4-12.
///
/// ```
/// assert!(event_recovery_format::is_uuid("34778262-F4f0-464d-b4c6-a14e2dc6f4be"));
/// assert!(!event_recovery_format::is_uuid("34778262f4f0464db4c6a14e2dc6f4be"));
/// ```
pub fn is_uuid(text: &str) -> bool {
    let mut groups = text.split('-');
    UUID_GROUP_BYTES.iter().all(|&bytes| {
        groups.next().is_some_and(|group| {
            group.len() == bytes && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }) && groups.next().is_none()
}

/// Whether `text` looks like an org id: two letters, `-` and a UUID, in any case. The platform documents `tn-`;
/// nothing promises that there will be no other kind.
///
/// ```
/// assert!(event_recovery_format::is_org_id("TN-34778262-f4f0-464d-b4c6-a14e2dc6f4be"));
/// assert!(!event_recovery_format::is_org_id("tn-1"));
/// ```
pub fn is_org_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(kind, uuid)| {
        kind.len() == 2 && kind.bytes().all(|b| b.is_ascii_alphabetic()) && is_uuid(uuid)
    })
}

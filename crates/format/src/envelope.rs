//! The envelope of one event: its top-level members, the nine documented fields among them.

use std::borrow::Cow;

use event_recovery_splitter::Event;
use memchr::memchr;

use crate::json_string::{decode_key, decode_string, integer};
use crate::members::{Member, Members, key_at, member_at, separated};

/// One of the nine fields that the platform documents for every event. Which of them an event has, and of which
/// types, is not guaranteed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Unique to an event, and the same in its duplicates.
    EventId,
    /// Correlation id.
    Cid,
    /// The tenant. Its case may differ from that in the bucket's keys.
    OrgId,
    /// For example `customer-creation-1`.
    EventType,
    /// For example `account`.
    Domain,
    /// An integer, or a string that holds one.
    SchemaVersion,
    /// Milliseconds since 1970-01-01 UTC, as an integer or a string that holds one.
    ArrivalEpoch,
    /// RFC 3339, with any offset.
    Timestamp,
    /// The payload: an object, or a string that holds JSON.
    Data,
}

impl Field {
    /// All nine, in the order of the Parquet columns.
    pub const ALL: [Self; 9] = [
        Self::EventId,
        Self::Cid,
        Self::OrgId,
        Self::EventType,
        Self::Domain,
        Self::SchemaVersion,
        Self::ArrivalEpoch,
        Self::Timestamp,
        Self::Data,
    ];

    /// The key in the event, which is also the name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::Cid => "cid",
            Self::OrgId => "org_id",
            Self::EventType => "event_type",
            Self::Domain => "domain",
            Self::SchemaVersion => "schema_version",
            Self::ArrivalEpoch => "arrival_epoch",
            Self::Timestamp => "timestamp",
            Self::Data => "data",
        }
    }

    /// The field that a key names, by the key's token with its quotes. Escapes are decoded.
    ///
    /// ```
    /// use event_recovery_format::Field;
    ///
    /// assert_eq!(Field::from_key(br#""cid""#), Some(Field::Cid));
    /// assert_eq!(Field::from_key(br#""\u0063id""#), Some(Field::Cid));
    /// assert_eq!(Field::from_key(br#""CID""#), None);
    /// ```
    pub fn from_key(raw: &[u8]) -> Option<Self> {
        let inner = raw.get(1..raw.len().saturating_sub(1))?;
        Self::named(inner).or_else(|| {
            let is_escaped = memchr(b'\\', inner).is_some();
            Self::named(is_escaped.then(|| decode_key(raw))?.as_ref())
        })
    }

    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"event_id" => Some(Self::EventId),
            b"cid" => Some(Self::Cid),
            b"org_id" => Some(Self::OrgId),
            b"event_type" => Some(Self::EventType),
            b"domain" => Some(Self::Domain),
            b"schema_version" => Some(Self::SchemaVersion),
            b"arrival_epoch" => Some(Self::ArrivalEpoch),
            b"timestamp" => Some(Self::Timestamp),
            b"data" => Some(Self::Data),
            _ => None,
        }
    }
}

/// Memory for [`Envelope`]s, reused from event to event.
///
/// It keeps up to 256 KiB allocated.
///
/// ```
/// use event_recovery_format::{Envelope, EnvelopeScratch};
///
/// let mut scratch = EnvelopeScratch::default();
/// let ids: Vec<String> = [br#"{"event_id":"1"}"#, br#"{"event_id":"2"}"#]
///     .iter()
///     .filter_map(|event| Some(Envelope::read(*event, &mut scratch).event_id()?.into_owned()))
///     .collect();
/// assert_eq!(ids, ["1", "2"]);
/// ```
#[derive(Debug, Default)]
pub struct EnvelopeScratch {
    /// The start of each member's key in the event. 32 bits wide, because an event of 16 MiB can have three million
    /// members.
    member_starts: Vec<u32>,
}

impl EnvelopeScratch {
    /// The most that stay allocated between events; memory that one extreme event needed is freed.
    const STARTS_KEPT_MAX: usize = 64 * 1024;

    fn clear(&mut self) {
        self.member_starts.clear();
        self.member_starts.shrink_to(Self::STARTS_KEPT_MAX);
    }
}

/// The top-level members of one event, as ranges of its bytes. Of a repeated key, the last value counts, as in most
/// JSON parsers.
///
/// Values are neither parsed nor copied: an accessor decodes a string when it is called. Reading does not allocate
/// once the scratch has room for the usual number of members.
///
/// ```
/// use event_recovery_format::{Envelope, EnvelopeScratch, Field};
///
/// let event = br#"{"event_id":"caf\u00e9","schema_version":"2","data":{"n": 1},"shard":3}"#;
/// let mut scratch = EnvelopeScratch::default();
/// let envelope = Envelope::read(event, &mut scratch);
///
/// assert_eq!(envelope.event_id().as_deref(), Some("café"));
/// assert_eq!(envelope.schema_version(), Some(2));
/// assert_eq!(envelope.data(), Some(&br#"{"n": 1}"#[..]));
/// assert_eq!(envelope.raw(Field::Cid), None);
/// // Members that are not documented are there as well.
/// let last = envelope.members().last();
/// assert_eq!(last.map(|member| (member.key, member.value)), Some((&br#""shard""#[..], &b"3"[..])));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    event: &'a [u8],
    fields: [Option<&'a [u8]>; Field::ALL.len()],
    member_starts: &'a [u32],
    /// Every member is one of the nine fields, and none is repeated.
    only_fields: bool,
    repeats_event_id: bool,
    /// The splitter has validated the event as UTF-8.
    is_text: bool,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of `event`, one valid JSON object of less than 4 GiB.
    ///
    /// Bytes that are not one JSON object give an arbitrary envelope, without a panic. An event of 4 GiB or more
    /// gives an empty one; writers refuse such an event.
    pub fn read(event: &'a [u8], scratch: &'a mut EnvelopeScratch) -> Self {
        let mut members = Members::new(event);
        if u32::try_from(event.len()).is_err() {
            members = Members::new(b"");
        }
        Self::of_members(
            event,
            std::iter::from_fn(|| members.next_with_start()),
            scratch,
        )
    }

    /// As [`read`](Self::read), of an event from the splitter. If the splitter has recorded its separators, only the
    /// keys are read again, and UTF-8 is not validated a second time.
    ///
    /// ```
    /// use event_recovery_format::{Envelope, EnvelopeScratch};
    /// use event_recovery_splitter::{Item, Limits, Splitter};
    ///
    /// let mut scratch = EnvelopeScratch::default();
    /// let mut domains = Vec::new();
    /// let mut on_item = |item: Item<'_>| {
    ///     if let Item::Event(event) = item {
    ///         domains.extend(Envelope::of(event, &mut scratch).domain().map(|domain| domain.into_owned()));
    ///     }
    ///     Ok::<_, std::convert::Infallible>(())
    /// };
    /// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    /// splitter.push(br#"{"domain":"account"}{"domain":"card"}{"event_id":"1"}"#, &mut on_item)?;
    /// splitter.finish(&mut on_item)?;
    /// assert_eq!(domains, ["account", "card"]);
    /// # Ok::<_, std::convert::Infallible>(())
    /// ```
    pub fn of(event: Event<'a>, scratch: &'a mut EnvelopeScratch) -> Self {
        let envelope = match event.separators {
            Some(separators) => {
                Self::of_members(event.bytes, separated(event.bytes, separators), scratch)
            }
            None => Self::read(event.bytes, scratch),
        };
        Self {
            is_text: true,
            ..envelope
        }
    }

    /// `members` are pairs of a key's start, below 4 GiB, and the member.
    fn of_members(
        event: &'a [u8],
        members: impl Iterator<Item = (usize, Member<'a>)>,
        scratch: &'a mut EnvelopeScratch,
    ) -> Self {
        scratch.clear();
        let mut fields = [None; Field::ALL.len()];
        let mut only_fields = true;
        let mut repeats_event_id = false;
        for (start, member) in members {
            scratch.member_starts.push(start as u32);
            let Some(field) = Field::from_key(member.key) else {
                only_fields = false;
                continue;
            };
            if fields[field as usize].replace(member.value).is_some() {
                only_fields = false;
                repeats_event_id |= field == Field::EventId;
            }
        }
        Self {
            event,
            fields,
            member_starts: &scratch.member_starts,
            only_fields,
            repeats_event_id,
            is_text: false,
        }
    }

    /// The bytes that the envelope was read from.
    pub fn event(&self) -> &'a [u8] {
        self.event
    }

    /// The field's last value as written in the event, without white space around it.
    pub fn raw(&self, field: Field) -> Option<&'a [u8]> {
        self.fields[field as usize]
    }

    /// The field's decoded text; `None` unless it is a JSON string without lone surrogates.
    pub fn text(&self, field: Field) -> Option<Cow<'a, str>> {
        decode_string(self.raw(field)?)
    }

    /// The field's value; `None` unless it is an integer as [`integer`] defines it.
    pub fn integer(&self, field: Field) -> Option<i64> {
        integer(self.raw(field)?)
    }

    /// [`text`](Self::text) of `event_id`.
    pub fn event_id(&self) -> Option<Cow<'a, str>> {
        self.text(Field::EventId)
    }

    /// [`text`](Self::text) of `cid`.
    pub fn cid(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Cid)
    }

    /// [`text`](Self::text) of `org_id`, in the event's own case.
    pub fn org_id(&self) -> Option<Cow<'a, str>> {
        self.text(Field::OrgId)
    }

    /// [`text`](Self::text) of `event_type`.
    pub fn event_type(&self) -> Option<Cow<'a, str>> {
        self.text(Field::EventType)
    }

    /// [`text`](Self::text) of `domain`.
    pub fn domain(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Domain)
    }

    /// [`integer`](Self::integer) of `schema_version`.
    pub fn schema_version(&self) -> Option<i64> {
        self.integer(Field::SchemaVersion)
    }

    /// [`integer`](Self::integer) of `arrival_epoch`, in milliseconds since 1970-01-01 UTC.
    pub fn arrival_epoch(&self) -> Option<i64> {
        self.integer(Field::ArrivalEpoch)
    }

    /// [`text`](Self::text) of `timestamp`, which need not be a valid one; see [`arrival`](crate::arrival).
    pub fn timestamp(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Timestamp)
    }

    /// [`raw`](Self::raw) of `data`.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.raw(Field::Data)
    }

    /// Whether the event has more than one top-level `event_id`. It is valid JSON then, but may be two events whose
    /// boundary was damaged.
    ///
    /// ```
    /// use event_recovery_format::{Envelope, EnvelopeScratch};
    ///
    /// // A damaged byte turned `}{` into `},`.
    /// let event = br#"{"event_id":"1","data":{},"event_id":"2"}"#;
    /// let mut scratch = EnvelopeScratch::default();
    /// assert!(Envelope::read(event, &mut scratch).repeats_event_id());
    /// ```
    pub fn repeats_event_id(&self) -> bool {
        self.repeats_event_id
    }

    /// Every top-level member in the order of the event, including repeated keys.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let event = self.event;
        let starts = self.member_starts.iter();
        starts.filter_map(move |&start| member_at(event, start as usize))
    }

    /// Whether the event is UTF-8, validated here unless the splitter has done so.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text || simdutf8::basic::from_utf8(self.event).is_ok()
    }

    /// Whether all members are among the nine fields, and none is repeated: then `extra_fields` is not needed for them.
    pub(crate) fn has_only_fields(&self) -> bool {
        self.only_fields
    }

    /// The start of each member's key, in the order of the event, for [`Self::member`] and [`Self::key`].
    pub(crate) fn member_starts(&self) -> &'a [u32] {
        self.member_starts
    }

    pub(crate) fn member(&self, start: u32) -> Option<Member<'a>> {
        member_at(self.event, start as usize)
    }

    pub(crate) fn key(&self, start: u32) -> &'a [u8] {
        key_at(self.event, start as usize)
    }
}

#[cfg(test)]
mod tests;

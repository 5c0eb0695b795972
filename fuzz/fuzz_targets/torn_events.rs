//! Structured fuzzing: streams of generated events that are nested, escaped and embedded in each other, with white
//! space anywhere and damage at chosen places. Without damage, all events must come out.
#![no_main]

use arbitrary::Arbitrary;
use event_recovery_fuzz::{Found, check};
use event_recovery_splitter::Limits;
use libfuzzer_sys::fuzz_target;

const EMBEDDED_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug, Arbitrary)]
struct Stream {
    events: Vec<Event>,
    damage: Vec<Damage>,
    chunks: [u16; 2],
    shift: u8,
}

#[derive(Debug, Arbitrary)]
struct Event {
    id: u8,
    id_place: u8,
    members: Vec<(Text, Value)>,
    space: Space,
}

#[derive(Debug, Arbitrary)]
enum Value {
    Null,
    True,
    False,
    Integer(i64),
    /// Written in three notations.
    Decimal(u32, u16, i8),
    Text(Text),
    /// A value as the content of a string, escaped once or twice.
    Embedded(Box<Value>, bool),
    Array(Vec<Value>, Space),
    Object(Vec<(Text, Value)>, Space),
    Deep(u8),
}

#[derive(Debug, Arbitrary)]
struct Text(Vec<Piece>);

#[derive(Debug, Arbitrary)]
enum Piece {
    Plain(u8, u8),
    Structure(u8),
    Escape(u8),
    Unicode(u16),
    Character(char),
    Boundary,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Space {
    None,
    One,
    Mixed(u8),
}

#[derive(Debug, Arbitrary)]
enum Damage {
    Set(u16, u8),
    Structure(u16, u8),
    Remove(u16, u8),
    Insert(u16, u8),
    CutTail(u16),
    Repeat(u16, u8),
}

impl Space {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Space::None => {}
            Space::One => out.push(b' '),
            Space::Mixed(length) => {
                let kinds = b" \t\r\n";
                out.extend((0..length % 80).map(|index| kinds[usize::from(index ^ length) % 4]));
            }
        }
    }
}

impl Text {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for piece in &self.0 {
            match piece {
                Piece::Plain(letter, length) => {
                    out.extend(std::iter::repeat_n(
                        b'a' + letter % 26,
                        usize::from(*length),
                    ));
                }
                Piece::Structure(index) => out.push(b"{}[]:,/'"[usize::from(index % 8)]),
                Piece::Escape(index) => {
                    out.extend([b'\\', b"\"\\/bfnrt"[usize::from(index % 8)]]);
                }
                Piece::Unicode(unit) => out.extend(format!("\\u{unit:04x}").bytes()),
                Piece::Character(character)
                    if *character >= ' ' && !"\"\\".contains(*character) =>
                {
                    out.extend(character.encode_utf8(&mut [0; 4]).bytes());
                }
                Piece::Character(_) => {}
                Piece::Boundary => out.extend(b"}{"),
            }
        }
        out.push(b'"');
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend(b"null"),
            Value::True => out.extend(b"true"),
            Value::False => out.extend(b"false"),
            Value::Integer(integer) => out.extend(integer.to_string().bytes()),
            Value::Decimal(whole, fraction, exponent) => {
                let text = match exponent % 3 {
                    0 => format!("{whole}.{fraction}"),
                    1 => format!("-{whole}.{fraction:05}E{exponent:+}"),
                    _ => format!("{whole}e{}", exponent.unsigned_abs()),
                };
                out.extend(text.bytes());
            }
            Value::Text(text) => text.write(out),
            Value::Embedded(value, twice) => {
                let mut text = Vec::new();
                value.write(&mut text);
                if text.len() > EMBEDDED_BYTES_MAX {
                    // Escaping doubles the backslashes at every level, so that deep embedding grows exponentially.
                    text.clear();
                }
                for _ in 0..=u8::from(*twice) {
                    text = escape(&text);
                }
                out.extend(text);
            }
            Value::Array(values, space) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    space.write(out);
                    value.write(out);
                }
                space.write(out);
                out.push(b']');
            }
            Value::Object(members, space) => write_object(members.iter(), *space, out),
            Value::Deep(depth) => {
                out.extend(std::iter::repeat_n(b'[', usize::from(*depth)));
                out.push(b'0');
                out.extend(std::iter::repeat_n(b']', usize::from(*depth)));
            }
        }
    }
}

fn write_object<'a>(
    members: impl Iterator<Item = &'a (Text, Value)>,
    space: Space,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        space.write(out);
        key.write(out);
        space.write(out);
        out.push(b':');
        space.write(out);
        value.write(out);
    }
    space.write(out);
    out.push(b'}');
}

/// The bytes as a JSON string, quoted and escaped.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0..=0x1f => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
    out
}

impl Event {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let place = usize::from(self.id_place) % (self.members.len() + 1);
        for index in 0..=self.members.len() {
            if index > 0 {
                out.push(b',');
            }
            self.space.write(out);
            if index == place {
                out.extend(format!("\"event_id\":\"{}\"", self.id).bytes());
                continue;
            }
            let (key, value) = &self.members[index - usize::from(index > place)];
            key.write(out);
            out.push(b':');
            self.space.write(out);
            value.write(out);
        }
        self.space.write(out);
        out.push(b'}');
    }
}

impl Damage {
    fn apply(&self, stream: &mut Vec<u8>) {
        if stream.is_empty() {
            return;
        }
        let place = |place: &u16, length: usize| usize::from(*place) % length;
        match self {
            Damage::Set(at, byte) => {
                let at = place(at, stream.len());
                stream[at] = *byte;
            }
            Damage::Structure(at, index) => {
                let at = place(at, stream.len());
                stream[at] = b"{}[]\":,\\ 0.-e\n"[usize::from(index % 14)];
            }
            Damage::Remove(at, length) => {
                let at = place(at, stream.len());
                let end = (at + usize::from(*length)).min(stream.len());
                stream.drain(at..end);
            }
            Damage::Insert(at, byte) => stream.insert(place(at, stream.len()), *byte),
            Damage::CutTail(at) => stream.truncate(place(at, stream.len())),
            Damage::Repeat(at, length) => {
                let at = place(at, stream.len());
                let end = (at + usize::from(*length)).min(stream.len());
                let part = stream[at..end].to_vec();
                stream.splice(at..at, part);
            }
        }
    }
}

fuzz_target!(|input: Stream| {
    let mut stream = vec![b' '; usize::from(input.shift % 64)];
    let mut intact = Vec::new();
    for event in &input.events {
        let start = stream.len();
        event.write(&mut stream);
        intact.push(stream[start..].to_vec());
        event.space.write(&mut stream);
    }
    if stream.len() > 64 * 1024 {
        return;
    }
    for damage in &input.damage {
        damage.apply(&mut stream);
    }
    let found = check(&stream, Limits::default(), &input.chunks.map(usize::from));
    if input.damage.is_empty() {
        let events: Vec<Vec<u8>> = found
            .into_iter()
            .map(|found| match found {
                Found::Event { bytes, .. } => bytes,
                Found::Rejected { reason, .. } => panic!("an intact event was rejected: {reason}"),
            })
            .collect();
        assert_eq!(events, intact);
    }
});

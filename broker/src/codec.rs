//! Bytes to packets and back. Reading leans on rumqttd's parsers behind checks of our own, because they trust the
//! packet type and may panic; small acknowledgements are written here, since only their reason codes differ.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{ConnAck, ConnAckProperties, Packet, Protocol, PublishProperties};

/// Protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// Why bytes are not an acceptable packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("malformed packet: {0}")]
    Malformed(String),
    #[error("packet of {0} bytes is above the limit")]
    Oversize(usize),
}

fn malformed(what: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(what.into())
}

/// Takes one whole frame off `buffer`; `None` while more bytes are needed.
pub(crate) fn take_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, DecodeError> {
    let mut length = 0_usize;
    for index in 1..=4 {
        let Some(byte) = buffer.get(index) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            let whole = 1 + index + length;
            if whole > max {
                return Err(DecodeError::Oversize(whole));
            }
            return Ok((buffer.len() >= whole).then(|| buffer.split_to(whole)));
        }
    }
    Err(malformed("remaining length"))
}

/// The protocol level in a CONNECT frame: `Ok(level)`, or an error if this is no CONNECT at all.
pub(crate) fn protocol_level(frame: &[u8]) -> Result<u8, DecodeError> {
    if frame.first() != Some(&0x10) {
        return Err(malformed("the first packet must be CONNECT"));
    }
    let body = frame.get(header_length(frame)..).ok_or_else(|| malformed("CONNECT is cut short"))?;
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => Ok(*level),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => Ok(*level),
        _ => Err(malformed("not an MQTT protocol name")),
    }
}

/// A packet from a client.
#[derive(Debug)]
pub(crate) enum Incoming {
    Publish(Publish),
    Other(Packet),
}

/// A PUBLISH from a client; rumqttd's own type hides QoS and packet id.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) qos: u8,
    /// 0 with QoS 0, never 0 with another.
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) properties: Option<PublishProperties>,
}

/// Reads the packet in one whole frame.
pub(crate) fn decode(version: Version, frame: BytesMut) -> Result<Incoming, DecodeError> {
    if frame.first().is_some_and(|byte| byte >> 4 == 3) {
        return decode_publish(version, frame.freeze()).map(Incoming::Publish);
    }
    decode_other(version, frame).map(Incoming::Other)
}

fn decode_publish(version: Version, frame: Bytes) -> Result<Publish, DecodeError> {
    let short = || malformed("PUBLISH is cut short");
    let first = frame[0];
    let (qos, retain) = ((first >> 1) & 0b11, first & 1 == 1);
    if qos == 3 {
        return Err(malformed("QoS 3"));
    }
    let number = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let header = header_length(&frame);
    let topic_start = header + 2;
    let topic_end = topic_start + usize::from(number(header).ok_or_else(short)?);
    let (id, end) = if qos == 0 { (0, topic_end) } else { (number(topic_end).ok_or_else(short)?, topic_end + 2) };
    if qos > 0 && id == 0 {
        return Err(malformed("packet id 0"));
    }
    if end > frame.len() {
        return Err(short());
    }
    let topic = frame.slice(topic_start..topic_end);
    let (payload, properties) = match version {
        Version::V4 => (frame.slice(end..), None),
        // An empty set of properties is what nearly every message has.
        Version::V5 if frame.get(end) == Some(&0) => (frame.slice(end + 1..), None),
        Version::V5 => match decode_other(version, BytesMut::from(frame))? {
            Packet::Publish(publish, properties) => (publish.payload, properties),
            _ => return Err(malformed("not PUBLISH")),
        },
    };
    Ok(Publish { qos, id, retain, topic, payload, properties })
}

/// Bytes of the fixed header of a whole frame.
fn header_length(frame: &[u8]) -> usize {
    let continued = frame.iter().skip(1).take_while(|byte| *byte & 0x80 != 0);
    2 + continued.count()
}

fn decode_other(version: Version, mut frame: BytesMut) -> Result<Packet, DecodeError> {
    let first = *frame.first().ok_or_else(|| malformed("empty frame"))?;
    let (kind, flags) = (first >> 4, first & 0x0f);
    let flags_right = match kind {
        3 => true,
        6 | 8 | 10 => flags == 0b0010,
        1 | 4 | 5 | 7 | 12 | 14 => flags == 0,
        // Packets that only servers send, AUTH, and the reserved types: the parser below would panic on some.
        _ => return Err(malformed(format!("packet type {kind} from a client"))),
    };
    if !flags_right {
        return Err(malformed(format!("flags of packet type {kind}")));
    }
    let size = frame.len();
    let parsed = catch_unwind(AssertUnwindSafe(|| match version {
        Version::V4 => V4.read_mut(&mut frame, size),
        Version::V5 => V5.read_mut(&mut frame, size),
    }));
    match parsed {
        Ok(Ok(packet)) => Ok(packet),
        Ok(Err(error)) => Err(malformed(error.to_string())),
        Err(_) => Err(malformed("the parser gave up")),
    }
}

/// Reason codes of MQTT 5 that this broker sends.
pub(crate) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const NO_SUBSCRIPTION: u8 = 0x11;
    pub(crate) const UNSPECIFIED: u8 = 0x80;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const SHUTTING_DOWN: u8 = 0x8b;
    pub(crate) const KEEP_ALIVE: u8 = 0x8d;
    pub(crate) const TAKEN_OVER: u8 = 0x8e;
    pub(crate) const FILTER_INVALID: u8 = 0x8f;
    pub(crate) const TOPIC_INVALID: u8 = 0x90;
    pub(crate) const PACKET_ID_NOT_FOUND: u8 = 0x92;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
    pub(crate) const ADMINISTRATIVE: u8 = 0x98;
    pub(crate) const SHARED_UNSUPPORTED: u8 = 0x9e;
    pub(crate) const SUBSCRIPTION_ID_UNSUPPORTED: u8 = 0xa1;
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, as their first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AckKind {
    Ack = 0x40,
    Rec = 0x50,
    Rel = 0x62,
    Comp = 0x70,
}

/// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP; 3.1.1 has no reason codes and gets the plain one.
pub(crate) fn put_ack(out: &mut BytesMut, version: Version, kind: AckKind, id: u16, reason: u8) {
    if version == Version::V5 && reason != reason::SUCCESS {
        out.put_slice(&[kind as u8, 3]);
        out.put_u16(id);
        out.put_u8(reason);
    } else {
        out.put_slice(&[kind as u8, 2]);
        out.put_u16(id);
    }
}

/// Writes a SUBACK. `codes` are MQTT 5 reason codes; 3.1.1 knows one failure, 0x80.
pub(crate) fn put_suback(out: &mut BytesMut, version: Version, id: u16, codes: &[u8]) {
    out.put_u8(0x90);
    match version {
        Version::V4 => {
            put_length(out, 2 + codes.len());
            out.put_u16(id);
            out.extend(codes.iter().map(|code| (*code).min(0x80)));
        }
        Version::V5 => {
            put_length(out, 3 + codes.len());
            out.put_u16(id);
            out.put_u8(0);
            out.put_slice(codes);
        }
    }
}

/// Writes an UNSUBACK.
pub(crate) fn put_unsuback(out: &mut BytesMut, version: Version, id: u16, codes: &[u8]) {
    out.put_u8(0xb0);
    match version {
        Version::V4 => {
            out.put_u8(2);
            out.put_u16(id);
        }
        Version::V5 => {
            put_length(out, 3 + codes.len());
            out.put_u16(id);
            out.put_u8(0);
            out.put_slice(codes);
        }
    }
}

/// Writes a PINGRESP.
pub(crate) fn put_pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

/// Writes a DISCONNECT; a 3.1.1 server has none and just closes.
pub(crate) fn put_disconnect(out: &mut BytesMut, version: Version, reason: u8) {
    if version == Version::V5 {
        out.put_slice(&[0xe0, 1, reason]);
    }
}

/// Writes a CONNACK that accepts.
pub(crate) fn put_connack(out: &mut BytesMut, version: Version, session_present: bool, properties: ConnAckProperties) {
    let ack = ConnAck { session_present, code: rumqttd::protocol::ConnectReturnCode::Success };
    match version {
        Version::V4 => out.put_slice(&[0x20, 2, u8::from(session_present), 0]),
        // Fails only on lengths that our own properties cannot have.
        Version::V5 => {
            let _ = V5.write(Packet::ConnAck(ack, Some(properties)), out);
        }
    }
}

/// Why a CONNECT is refused; each version has its own code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Version,
    ClientId,
    Credentials,
    NotAuthorized,
    Busy,
    TooMany,
}

/// Writes a CONNACK that refuses.
pub(crate) fn put_refusal(out: &mut BytesMut, version: Version, refusal: Refusal) {
    let (v4, v5) = match refusal {
        Refusal::Version => (1, 0x84),
        Refusal::ClientId => (2, 0x85),
        Refusal::Credentials => (4, 0x86),
        Refusal::NotAuthorized => (5, 0x87),
        Refusal::Busy => (3, 0x88),
        Refusal::TooMany => (3, 0x97),
    };
    match version {
        Version::V4 => out.put_slice(&[0x20, 2, 0, v4]),
        Version::V5 => out.put_slice(&[0x20, 3, 0, v5, 0]),
    }
}

/// A PUBLISH on its way to a client.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    /// Boxed: few messages have any, and they are large.
    pub(crate) properties: Option<Box<PublishProperties>>,
    pub(crate) retain: bool,
}

/// Writes a PUBLISH; `id` counts only with `qos` above 0.
pub(crate) fn put_publish(
    out: &mut BytesMut,
    version: Version,
    publication: &Publication,
    qos: u8,
    id: u16,
    dup: bool,
) {
    let properties = match (version, &publication.properties) {
        (Version::V4, _) => BytesMut::new(),
        (Version::V5, None) => BytesMut::from(&[0][..]),
        (Version::V5, Some(properties)) => encode_properties(properties),
    };
    let mut length = 2 + publication.topic.len() + publication.payload.len();
    if qos > 0 {
        length += 2;
    }
    length += properties.len();
    out.reserve(length + 5);
    out.put_u8(0x30 | (u8::from(dup) << 3) | (qos << 1) | u8::from(publication.retain));
    put_length(out, length);
    // Topics come out of MQTT strings, whose length has 16 bits.
    out.put_u16(publication.topic.len() as u16);
    out.put_slice(&publication.topic);
    if qos > 0 {
        out.put_u16(id);
    }
    out.put_slice(&properties);
    out.put_slice(&publication.payload);
}

/// The properties of a PUBLISH with their length, by way of rumqttd's writer for whole packets.
fn encode_properties(properties: &PublishProperties) -> BytesMut {
    let mut frame = BytesMut::new();
    let empty = rumqttd::protocol::Publish::new(Bytes::new(), Bytes::new(), false);
    // Fails only for a packet above 256 MiB.
    let _ = V5.write(Packet::Publish(empty, Some(properties.clone())), &mut frame);
    // Behind the header is the empty topic: two bytes of length.
    let start = (header_length(&frame) + 2).min(frame.len());
    frame.split_off(start)
}

fn put_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            out.put_u8(byte);
            return;
        }
        out.put_u8(byte | 0x80);
    }
}

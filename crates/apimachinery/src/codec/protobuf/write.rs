//! The protobuf wire format, written record by record. What is zero is the caller's to leave out.

const WIRE_VARINT: u64 = 0;
const WIRE_FIXED64: u64 = 1;
const WIRE_BYTES: u64 = 2;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 127 {
        out.push(value as u8 & 127 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// An integer or a boolean; negative numbers take ten bytes, as proto2's `int32` and `int64` do.
pub fn number(field: u32, value: i64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | WIRE_VARINT, out);
    varint(value as u64, out);
}

pub fn double(field: u32, value: f64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | WIRE_FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Text, bytes, or a message that is encoded already.
pub fn bytes(field: u32, content: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | WIRE_BYTES, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

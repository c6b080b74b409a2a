//! Reads the API's Go types from the run-time type information of an official Go executable (kubectl).
//!
//! The struct tags there carry the JSON names, `omitempty` and the protobuf field numbers, and the field types say
//! what is a pointer: the facts that decide how a zero value is written. Layout: Go's `internal/abi`, 64 bit.
use crate::{
    definitions::scalar,
    model::{Encoding, Message, MessageField, Messages},
};
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};

pub const KIND_MAP: u8 = 21;
pub const KIND_POINTER: u8 = 22;
pub const KIND_SLICE: u8 = 23;
const KIND_STRING: u8 = 24;
pub const KIND_STRUCT: u8 = 25;
pub const TYPE_SIZE: u64 = 48;
const FLAG_UNCOMMON: u8 = 1;
const FLAG_EXTRA_STAR: u8 = 2;
const FLAG_NAMED: u8 = 4;
const NAME_HAS_TAG: u8 = 2;
const NAME_EMBEDDED: u8 = 8;

pub fn read(executable: &[u8]) -> anyhow::Result<Messages> {
    let image = Image::new(executable)?;
    let mut messages = Messages::new();
    for (name, at) in image.definitions()? {
        messages.insert(name, image.message(&image.fields(at)?)?);
    }
    Ok(messages)
}

struct Section {
    address: u64,
    offset: usize,
    size: usize,
}

pub struct Image<'a> {
    bytes: &'a [u8],
    sections: BTreeMap<String, Section>,
    types: u64,
}

pub struct GoField {
    pub name: String,
    tag: String,
    pub type_at: u64,
    embedded: bool,
}

impl GoField {
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tag.split(&format!("{key}:\"")).nth(1)?.split('"').next()
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    let slice = bytes.get(at..at + N).context("offset outside of the executable")?;
    Ok(slice.try_into()?)
}

impl<'a> Image<'a> {
    pub fn new(bytes: &'a [u8]) -> anyhow::Result<Self> {
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            bail!("not a 64-bit little-endian ELF executable");
        }
        let table = u64::from_le_bytes(number(bytes, 0x28)?) as usize;
        let count = u16::from_le_bytes(number(bytes, 0x3c)?) as usize;
        let names = u16::from_le_bytes(number(bytes, 0x3e)?) as usize;
        let names_at = u64::from_le_bytes(number(bytes, table + names * 64 + 24)?) as usize;
        let mut sections = BTreeMap::new();
        for i in 0..count {
            let at = table + i * 64;
            let name_at = names_at + u32::from_le_bytes(number(bytes, at)?) as usize;
            let rest = bytes.get(name_at..).context("section name outside of the executable")?;
            let name = rest.split(|b| *b == 0).next().unwrap_or_default();
            if u32::from_le_bytes(number(bytes, at + 4)?) == 8 {
                continue; // no contents in the file
            }
            let section = Section {
                address: u64::from_le_bytes(number(bytes, at + 16)?),
                offset: u64::from_le_bytes(number(bytes, at + 24)?) as usize,
                size: u64::from_le_bytes(number(bytes, at + 32)?) as usize,
            };
            sections.insert(String::from_utf8_lossy(name).into_owned(), section);
        }
        let types = sections.get(".rodata").context("no .rodata")?.address;
        Ok(Image { bytes, sections, types })
    }

    fn offset(&self, address: u64) -> anyhow::Result<usize> {
        self.sections
            .values()
            .find(|s| s.address > 0 && (s.address..s.address + s.size as u64).contains(&address))
            .map(|s| s.offset + (address - s.address) as usize)
            .with_context(|| format!("address {address:#x} is in no section"))
    }

    pub fn u64(&self, address: u64) -> anyhow::Result<u64> {
        Ok(u64::from_le_bytes(number(self.bytes, self.offset(address)?)?))
    }

    fn i32(&self, address: u64) -> anyhow::Result<i32> {
        Ok(i32::from_le_bytes(number(self.bytes, self.offset(address)?)?))
    }

    fn u8(&self, address: u64) -> anyhow::Result<u8> {
        Ok(number::<1>(self.bytes, self.offset(address)?)?[0])
    }

    pub fn kind(&self, type_at: u64) -> anyhow::Result<u8> {
        Ok(self.u8(type_at + 23)? & 31)
    }

    /// Where a type or name with this offset from the start of all types is.
    fn type_address(&self, offset: i32) -> u64 {
        self.types.wrapping_add_signed(i64::from(offset))
    }

    fn type_links(&self) -> anyhow::Result<Vec<u64>> {
        let section = self.sections.get(".typelink").context("no .typelink: not a Go executable")?;
        let bytes = self.bytes.get(section.offset..section.offset + section.size).context("bad .typelink")?;
        bytes.chunks_exact(4).map(|c| Ok(self.type_address(i32::from_le_bytes(c.try_into()?)))).collect()
    }

    /// Where each API struct is, by its definition's name.
    pub fn definitions(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut todo = self.type_links()?;
        let mut seen = BTreeSet::new();
        let mut found = BTreeMap::new();
        while let Some(at) = todo.pop() {
            if !seen.insert(at) {
                continue;
            }
            match self.kind(at)? {
                KIND_POINTER | KIND_SLICE => todo.push(self.u64(at + TYPE_SIZE)?),
                KIND_MAP => todo.push(self.u64(at + TYPE_SIZE + 8)?),
                KIND_STRUCT => {
                    todo.extend(self.fields(at)?.iter().map(|f| f.type_at));
                    if let Some(name) = self.definition(at)? {
                        found.insert(name, at);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Whether the type has a name of its own.
    pub fn is_named(&self, type_at: u64) -> anyhow::Result<bool> {
        Ok(self.u8(type_at + 20)? & FLAG_NAMED != 0)
    }

    fn length(&self, mut at: usize) -> anyhow::Result<(usize, usize)> {
        let (mut value, mut shift) = (0usize, 0);
        loop {
            let byte = *self.bytes.get(at).context("name outside of the executable")?;
            at += 1;
            value |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 || shift > 28 {
                return Ok((value, at));
            }
        }
    }

    fn text(&self, at: usize) -> anyhow::Result<(String, usize)> {
        let (length, at) = self.length(at)?;
        let bytes = self.bytes.get(at..at + length).context("name outside of the executable")?;
        Ok((String::from_utf8_lossy(bytes).into_owned(), at + length))
    }

    pub fn type_name(&self, type_at: u64) -> anyhow::Result<String> {
        let (text, _) = self.text(self.offset(self.type_address(self.i32(type_at + 40)?))? + 1)?;
        let star = self.u8(type_at + 20)? & FLAG_EXTRA_STAR != 0;
        Ok(if star { text.trim_start_matches('*').to_owned() } else { text })
    }

    /// The definition's name of an API struct.
    fn definition(&self, type_at: u64) -> anyhow::Result<Option<String>> {
        if self.u8(type_at + 20)? & FLAG_UNCOMMON == 0 {
            return Ok(None);
        }
        let package_offset = self.i32(type_at + TYPE_SIZE + 32)?;
        if package_offset == 0 {
            return Ok(None);
        }
        let (package, _) = self.text(self.offset(self.type_address(package_offset))? + 1)?;
        let Some(path) = package.strip_prefix("k8s.io/") else { return Ok(None) };
        let name = self.type_name(type_at)?;
        Ok(name.split_once('.').map(|(_, type_)| format!("{}.{type_}", path.replace('/', "."))))
    }

    pub fn fields(&self, type_at: u64) -> anyhow::Result<Vec<GoField>> {
        let list = self.u64(type_at + TYPE_SIZE + 8)?;
        let count = self.u64(type_at + TYPE_SIZE + 16)?;
        let mut fields = Vec::new();
        for i in 0..count {
            let at = list + i * 24;
            let name_at = self.offset(self.u64(at)?)?;
            let flags = *self.bytes.get(name_at).context("bad name")?;
            let (name, after) = self.text(name_at + 1)?;
            let tag = if flags & NAME_HAS_TAG != 0 { self.text(after)?.0 } else { String::new() };
            fields.push(GoField { name, tag, type_at: self.u64(at + 8)?, embedded: flags & NAME_EMBEDDED != 0 });
        }
        Ok(fields)
    }

    fn message(&self, fields: &[GoField]) -> anyhow::Result<Message> {
        let mut message = Message::default();
        for field in fields {
            let Some(protobuf) = field.tag("protobuf") else { continue };
            let mut parts = protobuf.split(',');
            // `protobuf:"-"`
            let Some(number) = parts.nth(1).and_then(|n| n.parse().ok()) else { continue };
            let repeated = parts.next() == Some("rep");
            let json = field.tag("json").unwrap_or_default();
            let (name, options) = json.split_once(',').unwrap_or((json, ""));
            let Some(type_) = self.code(field.type_at)? else { continue };
            let encoding = Encoding {
                number,
                pointer: self.kind(field.type_at)? == KIND_POINTER,
                always: !options.contains("omitempty") && !options.contains("omitzero"),
                // Upstream's tags call many plain lists optional; only list types with a name are messages.
                wrapped: type_.starts_with('[') && !repeated && self.is_named(field.type_at)?,
            };
            message.fields.push(MessageField {
                name: name.to_owned(),
                type_,
                encoding,
                inline: field.embedded && name.is_empty(),
                default: None,
                guessed_name: false,
            });
        }
        Ok(message)
    }

    /// The table's notation of a Go type; `None` for what has no place in the API.
    fn code(&self, type_at: u64) -> anyhow::Result<Option<String>> {
        let nested = |prefix: &str, inner: u64| Ok(self.code(inner)?.map(|inner| format!("{prefix}{inner}")));
        Ok(Some(match self.kind(type_at)? {
            1 => "b".to_owned(),
            3..=5 | 8..=10 => "i".to_owned(),
            2 | 6 | 7 | 11 => "l".to_owned(),
            13 | 14 => "d".to_owned(),
            KIND_STRING => "s".to_owned(),
            KIND_POINTER => return self.code(self.u64(type_at + TYPE_SIZE)?),
            KIND_SLICE => {
                let item = self.u64(type_at + TYPE_SIZE)?;
                if self.kind(item)? == 8 {
                    return Ok(Some("y".to_owned()));
                }
                return nested("[", item);
            }
            KIND_MAP => return nested("{", self.u64(type_at + TYPE_SIZE + 8)?),
            KIND_STRUCT => {
                let Some(name) = self.definition(type_at)? else { return Ok(None) };
                scalar(&name).map_or_else(|| format!("@{name}"), str::to_owned)
            }
            _ => return Ok(None),
        }))
    }
}

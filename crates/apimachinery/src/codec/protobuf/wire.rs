//! The protobuf wire format: numbered records, read in order, nothing copied.
use super::Error;

pub struct Reader<'a> {
    rest: &'a [u8],
}

pub enum Payload<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

pub struct Record<'a> {
    pub number: u32,
    payload: Payload<'a>,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Truncated)
    }

    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array::<1>()?;
            if shift == 63 && byte > 1 {
                return Err(Error::Overlong);
            }
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Error::Overlong)
    }

    /// The next record; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record<'a>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (wire, number) = (tag & 7, tag >> 3);
        let wrong = || Error::WireType { field: number.to_string(), wire: wire as u8 };
        let number = u32::try_from(number).ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let payload = match wire {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Payload::Fixed32
            }
            // Groups are not used by the API.
            _ => return Err(wrong()),
        };
        Ok(Some(Record { number, payload }))
    }
}

impl<'a> Record<'a> {
    fn wrong(&self, field: &str) -> Error {
        let wire = match self.payload {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Fixed32 => 5,
        };
        Error::WireType { field: field.to_owned(), wire }
    }

    /// `field` is for the error.
    pub fn bytes(&self, field: &str) -> Result<&'a [u8], Error> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong(field)),
        }
    }

    pub fn text(&self, field: &str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| Error::Utf8(field.to_owned()))
    }

    pub fn varint(&self, field: &str) -> Result<u64, Error> {
        match self.payload {
            Payload::Varint(value) => Ok(value),
            _ => Err(self.wrong(field)),
        }
    }

    pub fn double(&self, field: &str) -> Result<f64, Error> {
        match self.payload {
            Payload::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.wrong(field)),
        }
    }

    /// The bytes of a packed list of numbers.
    pub fn packed(&self) -> Option<&'a [u8]> {
        match self.payload {
            Payload::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

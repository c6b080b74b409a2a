//! Exact resource amounts: `100m`, `1.5Gi`, `12e6`.
//!
//! A quantity is a whole number of nano units in 128 bits, so arithmetic is exact; finer digits round away from
//! zero and amounts beyond ±1.7e29 saturate. Binary amounts (`Ki` … `Ei`) are capped at 2^63-1 when parsed, as
//! upstream caps them. Source: `k8s.io/apimachinery/pkg/api/resource`.
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::{
    cmp::Ordering,
    fmt::{self, Display},
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
    str::FromStr,
};

const NANOS_PER_UNIT: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;
/// The largest binary amount.
const BINARY_CAP: i128 = i64::MAX as i128 * NANOS_PER_UNIT;
/// All powers of ten in 128 bits.
const POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};
/// This many digits fit in 64 bits whatever they are.
const FAST_DIGITS: usize = 18;
/// Fraction digits are read while the mantissa is below this, so that `mantissa << 60` still fits.
const BINARY_MANTISSA_LIMIT: i128 = 10_000_000_000_000_000_000;
const DECIMAL_MANTISSA_LIMIT: i128 = i128::MAX / 100;

/// How a quantity was written, and so how it is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount. Equality and order look at the amount only, never at the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The parsed form of an API quantity.
///
/// # Errors
/// As [`Quantity::parse`].
pub fn of(quantity: &ApiQuantity) -> Result<Quantity, ParseError> {
    Quantity::parse(&quantity.0)
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Parses `<signed number><suffix>`.
    ///
    /// # Errors
    /// In upstream's wording when the text is no quantity.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let scanned = Scanned::scan(text)?;
        let suffix = Suffix::interpret(scanned.suffix)?;
        let (limit, shift, power) = match suffix {
            Suffix::Binary(bits) => (BINARY_MANTISSA_LIMIT, bits, 0),
            Suffix::Decimal(power, _) => (DECIMAL_MANTISSA_LIMIT, 0, power),
        };
        let mut format = suffix.format();
        let magnitude = scanned.mantissa(limit).and_then(|(mantissa, fraction_digits, inexact)| {
            let mantissa = mantissa.checked_mul(1i128 << shift)?;
            scale(mantissa, power.saturating_sub(fraction_digits).saturating_add(9), inexact)
        });
        let mut nanos = magnitude.unwrap_or(i128::MAX);
        if format == Format::BinarySi {
            nanos = nanos.min(BINARY_CAP);
            if nanos > 0 && nanos < NANOS_PER_UNIT {
                format = Format::DecimalSi;
            }
        }
        Ok(Quantity { nanos: if scanned.negative { -nanos } else { nanos }, format })
    }

    /// `units` whole units.
    pub fn from_value(units: i64, format: Format) -> Self {
        Quantity { nanos: i128::from(units) * NANOS_PER_UNIT, format }
    }

    /// `milli` thousandths.
    pub fn from_milli(milli: i64, format: Format) -> Self {
        Quantity { nanos: i128::from(milli) * NANOS_PER_MILLI, format }
    }

    /// `nanos` billionths.
    pub fn from_nanos(nanos: i64, format: Format) -> Self {
        Quantity { nanos: i128::from(nanos), format }
    }

    /// Whole units, rounded up (away from zero), saturating.
    pub fn value(&self) -> i64 {
        rounded_up(self.nanos, NANOS_PER_UNIT)
    }

    /// Thousandths, rounded up (away from zero), saturating.
    pub fn milli_value(&self) -> i64 {
        rounded_up(self.nanos, NANOS_PER_MILLI)
    }

    /// The amount in whole units if it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        if self.nanos % NANOS_PER_UNIT == 0 { i64::try_from(self.nanos / NANOS_PER_UNIT).ok() } else { None }
    }

    /// The nearest floating-point number of units.
    pub fn as_f64(&self) -> f64 {
        let whole = self.nanos / NANOS_PER_UNIT;
        let rest = self.nanos % NANOS_PER_UNIT;
        whole as f64 + rest as f64 / NANOS_PER_UNIT as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn with_format(self, format: Format) -> Self {
        Quantity { format, ..self }
    }

    /// The canonical text as an API value.
    pub fn to_api(&self) -> ApiQuantity {
        ApiQuantity(self.to_string())
    }

    fn combined(self, other: Self, nanos: i128) -> Self {
        // The first non-zero operand decides the format, as upstream's Add and Sub do.
        Quantity { nanos, format: if self.is_zero() { other.format } else { self.format } }
    }
}

/// Divides rounding away from zero, saturating at the ends of `i64`.
fn rounded_up(nanos: i128, unit: i128) -> i64 {
    if let (Ok(small), Ok(unit)) = (i64::try_from(nanos), i64::try_from(unit)) {
        return small / unit + (small % unit).signum();
    }
    let value = nanos / unit + (nanos % unit).signum();
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// `mantissa * 10^power`, rounded up; `None` on overflow.
fn scale(mantissa: i128, power: i64, inexact: bool) -> Option<i128> {
    if mantissa == 0 {
        return Some(i128::from(inexact));
    }
    let magnitude = usize::try_from(power.unsigned_abs()).ok().and_then(|power| POWERS_OF_TEN.get(power)).copied();
    match (power >= 0, magnitude) {
        (true, Some(factor)) => mantissa.checked_mul(factor),
        (true, None) => None,
        (false, Some(divisor)) => Some(mantissa / divisor + i128::from(inexact || mantissa % divisor != 0)),
        // Below one nano unit: rounded up to it.
        (false, None) => Some(1),
    }
}

/// The parts of a quantity's text.
struct Scanned<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Scanned<'a> {
    fn scan(text: &'a str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Scanned { negative, whole, fraction, suffix })
        } else {
            Err(ParseError::Format)
        }
    }

    /// The digits as one number, how many of them are fraction, and whether some were left out.
    /// `None` when the whole part alone is too large.
    fn mantissa(&self, limit: i128) -> Option<(i128, i64, bool)> {
        if self.whole.len() + self.fraction.len() <= FAST_DIGITS {
            let digits = self.whole.bytes().chain(self.fraction.bytes());
            let mantissa = digits.fold(0i64, |mantissa, digit| mantissa * 10 + i64::from(digit - b'0'));
            return Some((i128::from(mantissa), self.fraction.len() as i64, false));
        }
        let mut mantissa = 0i128;
        for digit in self.whole.bytes() {
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let fraction = self.fraction.trim_end_matches('0');
        let mut taken = 0i64;
        for digit in fraction.bytes() {
            if mantissa >= limit {
                return Some((mantissa, taken, true));
            }
            mantissa = mantissa * 10 + i128::from(digit - b'0');
            taken += 1;
        }
        Some((mantissa, taken, false))
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[derive(Clone, Copy)]
enum Suffix {
    /// A power of two.
    Binary(u32),
    /// A power of ten.
    Decimal(i64, Format),
}

impl Suffix {
    fn interpret(text: &str) -> Result<Self, ParseError> {
        let power = match text {
            "" => 0,
            "n" => -9,
            "u" => -6,
            "m" => -3,
            "k" => 3,
            "M" => 6,
            "G" => 9,
            "T" => 12,
            "P" => 15,
            "E" => 18,
            "Ki" => return Ok(Suffix::Binary(10)),
            "Mi" => return Ok(Suffix::Binary(20)),
            "Gi" => return Ok(Suffix::Binary(30)),
            "Ti" => return Ok(Suffix::Binary(40)),
            "Pi" => return Ok(Suffix::Binary(50)),
            "Ei" => return Ok(Suffix::Binary(60)),
            _ => {
                let exponent = text.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
                let power: i64 = exponent.parse().map_err(|_| ParseError::Suffix)?;
                return Ok(Suffix::Decimal(power, Format::DecimalExponent));
            }
        };
        Ok(Suffix::Decimal(power, Format::DecimalSi))
    }

    fn format(self) -> Format {
        match self {
            Suffix::Binary(_) => Format::BinarySi,
            Suffix::Decimal(_, format) => format,
        }
    }
}

impl Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANOS_PER_UNIT;
        let exact = self.nanos % NANOS_PER_UNIT == 0;
        if self.format == Format::BinarySi && exact && units.unsigned_abs() >= 1024 {
            return fmt_binary(units, f);
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        let suffix = match exponent {
            0 => "",
            -9 => "n",
            -6 => "u",
            -3 => "m",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            _ => return write!(f, "{mantissa}e{exponent}"),
        };
        if self.format == Format::DecimalExponent && exponent != 0 {
            return write!(f, "{mantissa}e{exponent}");
        }
        write!(f, "{mantissa}{suffix}")
    }
}

fn fmt_binary(units: i128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut mantissa = units;
    let mut suffixes = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = "";
    while mantissa % 1024 == 0 {
        let Some(next) = suffixes.next() else { break };
        mantissa /= 1024;
        suffix = next;
    }
    write!(f, "{mantissa}{suffix}")
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.combined(other, self.nanos.saturating_add(other.nanos))
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.combined(other, self.nanos.saturating_sub(other.nanos))
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Quantity { nanos: self.nanos.saturating_neg(), ..self }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Quantity::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Quantity> for Quantity {
    fn sum<I: Iterator<Item = &'a Self>>(iter: I) -> Self {
        iter.copied().sum()
    }
}

impl From<Quantity> for ApiQuantity {
    fn from(quantity: Quantity) -> Self {
        quantity.to_api()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_text() {
        let cases = [
            ("0", "0"),
            ("-0", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1023Ki", "1023Ki"),
            ("1024Ki", "1Mi"),
            ("2048", "2048"),
            ("1000", "1k"),
            ("12e6", "12e6"),
            ("1E3", "1e3"),
            ("1E", "1E"),
            ("1000E", "1e21"),
            ("0.9n", "1n"),
            ("1.2345", "1234500u"),
            ("8Ei", "9223372036854775807"),
            ("-1Ki", "-1Ki"),
            ("0.3Ki", "307200m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+1", "1"),
            ("0.0001Ki", "102400u"),
            ("18446744073709551616", "18446744073709551616"),
        ];
        for (text, want) in cases {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn refused_texts() {
        let cases = [
            ("", ParseError::Format),
            ("abc", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("1Gi ", ParseError::Format),
            ("1.2.3", ParseError::Format),
            ("1mm", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("1K", ParseError::Suffix),
            ("1ki", ParseError::Suffix),
            ("1é", ParseError::Format),
        ];
        for (text, want) in cases {
            assert_eq!(Quantity::parse(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn values_round_away_from_zero() {
        let cases =
            [("1m", 1, 1), ("1001m", 2, 1001), ("-1m", -1, -1), ("1n", 1, 1), ("64Gi", 68719476736, 68719476736000)];
        for (text, units, milli) in cases {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.value(), quantity.milli_value()), (units, milli), "{text}");
        }
        assert_eq!(Quantity::parse("1000E").unwrap().value(), i64::MAX);
    }

    #[test]
    fn sums_take_the_first_format() {
        let sum = |a, b| (Quantity::parse(a).unwrap() + Quantity::parse(b).unwrap()).to_string();
        assert_eq!(sum("1Gi", "1Gi"), "2Gi");
        assert_eq!(sum("0", "1Gi"), "1Gi");
        assert_eq!(sum("500m", "1500m"), "2");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn canonical_text_keeps_the_amount(text in "[+-]?[0-9]{1,20}(\\.[0-9]{0,20})?(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]|e-[0-9])") {
            let quantity = Quantity::parse(&text).unwrap();
            let canonical = quantity.to_string();
            let again = Quantity::parse(&canonical).unwrap();
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.to_string(), canonical);
        }

        #[test]
        fn subtraction_undoes_addition(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (Quantity::from_milli(a, Format::DecimalSi), Quantity::from_milli(b, Format::DecimalSi));
            prop_assert_eq!(a + b - b, a);
            prop_assert_eq!(a.milli_value().cmp(&b.milli_value()), a.cmp(&b));
        }
    }
}

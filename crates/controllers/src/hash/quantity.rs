//! A parsed quantity as Go holds it: a 64-bit number and a power of ten, or a big decimal, and the text when it was
//! in canonical form and therefore kept.
//!
//! Source: `ParseQuantity` in `k8s.io/apimachinery/pkg/api/resource`.
use apimachinery::quantity::Quantity;
use std::fmt::Write as _;

/// Decimal digits that fit in 64 bits whatever they are.
const DIGITS_MAX: i32 = 18;
/// The finest power of ten.
const NANO: i32 = -9;

/// The print of the quantity that the server stores for `text`.
pub fn print(text: &str) -> String {
    // The server writes the canonical form.
    let text = Quantity::parse(text).map_or_else(|_| text.to_owned(), |quantity| quantity.to_string());
    if text == "0" {
        return fast(0, 0, "0", "DecimalSI");
    }
    parsed(&text).unwrap_or_else(|| big(&text))
}

fn fast(value: i64, scale: i32, kept: &str, format: &str) -> String {
    format!(
        "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} \
         d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string){kept} Format:(resource.Format){format}}}"
    )
}

enum Suffix {
    Decimal { power: i32, format: &'static str },
    Binary { bits: u32 },
}

fn suffix(text: &str) -> Option<Suffix> {
    let decimal = |power| Some(Suffix::Decimal { power, format: "DecimalSI" });
    match text {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some(Suffix::Binary { bits: 10 }),
        "Mi" => Some(Suffix::Binary { bits: 20 }),
        "Gi" => Some(Suffix::Binary { bits: 30 }),
        "Ti" => Some(Suffix::Binary { bits: 40 }),
        "Pi" => Some(Suffix::Binary { bits: 50 }),
        "Ei" => Some(Suffix::Binary { bits: 60 }),
        _ => {
            let power = text.strip_prefix(['e', 'E'])?.parse().ok()?;
            Some(Suffix::Decimal { power, format: "DecimalExponent" })
        }
    }
}

/// The sign, the digits, and the suffix of a canonical quantity, which has no fraction.
fn split(text: &str) -> Option<(bool, &str, &str)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(end)?;
    Some((negative, digits, suffix))
}

/// What fits in 64 bits; `None` for what upstream keeps as a big decimal.
fn parsed(text: &str) -> Option<String> {
    let (negative, digits, rest) = split(text)?;
    let length = i32::try_from(digits.len()).ok()?;
    let number: i64 = digits.parse().ok()?;
    let sign = if negative { -1 } else { 1 };
    match suffix(rest)? {
        Suffix::Decimal { power, format } => {
            if length > DIGITS_MAX || power < NANO {
                return None;
            }
            let kept = power % 3 == 0 && !digits.ends_with("000");
            Some(fast(sign * number, power, if kept { text } else { "" }, format))
        }
        Suffix::Binary { bits } => {
            // Three decimal digits for ten bits, and one to spare.
            if 15 - length - (bits * 3 / 10).cast_signed() - 1 < 0 {
                return None;
            }
            let kept = number & 7 != 0;
            Some(fast(sign * number.checked_mul(1 << bits)?, 0, if kept { text } else { "" }, "BinarySI"))
        }
    }
}

/// A decimal of any size, rounded to billionths.
fn big(text: &str) -> String {
    let (negative, digits, rest) = split(text).unwrap_or((false, "0", ""));
    let number: u128 = digits.parse().unwrap_or(u128::MAX);
    let pow = |power: i32| 10u128.saturating_pow(power.unsigned_abs());
    let (mut unscaled, mut scale, format) = match suffix(rest) {
        Some(Suffix::Binary { bits }) => (number.saturating_mul(1 << bits), 0, "BinarySI"),
        Some(Suffix::Decimal { power, format }) => (number, -power, format),
        None => (number, 0, "DecimalSI"),
    };
    if format == "BinarySI" && unscaled > i64::MAX.unsigned_abs().into() {
        unscaled = i64::MAX.unsigned_abs().into();
    } else if scale <= -NANO {
        unscaled = unscaled.saturating_mul(pow(-NANO - scale));
        scale = -NANO;
    }
    let mut words = String::new();
    for word in [unscaled as u64, (unscaled >> 64) as u64].iter().take(if unscaled >> 64 == 0 { 1 } else { 2 }) {
        let _ = write!(words, "{}{word}", if words.is_empty() { "" } else { " " });
    }
    format!(
        "{{i:(resource.int64Amount){{value:(int64)0 scale:(resource.Scale)0}} d:(resource.infDecAmount){{Dec:(*inf.Dec)\
         {{unscaled:(big.Int){{neg:(bool){negative} abs:(big.nat)[{words}]}} scale:(inf.Scale){scale}}}}} \
         s:(string) Format:(resource.Format){format}}}"
    )
}

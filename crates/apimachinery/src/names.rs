//! Generated names: `web-` becomes `web-x7k2p`.
//!
//! Source: `k8s.io/apiserver/pkg/storage/names` and `k8s.io/apimachinery/pkg/util/rand`.

/// Letters and digits that form no words and are not mistaken for each other.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Names are cut to what leaves room for the suffix in 63 bytes.
const BASE_MAX: usize = 58;
const SUFFIX_LENGTH: usize = 5;

fn letter(n: usize) -> char {
    ALPHABET.get(n % ALPHABET.len()).copied().map_or('b', char::from)
}

/// `base`, cut to 58 bytes, with five random characters; `random` gives uniform numbers.
pub fn generate(base: &str, mut random: impl FnMut() -> u32) -> String {
    let mut end = base.len().min(BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    name.extend((0..SUFFIX_LENGTH).map(|_| letter(random() as usize)));
    name
}

/// `length` random characters that are safe in names.
pub fn random_string(length: usize, mut random: impl FnMut() -> u32) -> String {
    (0..length).map(|_| letter(random() as usize)).collect()
}

/// Maps a hash's digits to the alphabet of names, as the `pod-template-hash` label is made.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| letter(usize::from(b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names() {
        let mut n = 0;
        let name = generate("web-", || {
            n += 1;
            n
        });
        assert_eq!(name, "web-cdfgh");
        assert_eq!(generate(&"a".repeat(80), || 0).len(), 63);
        assert_eq!(generate(&"é".repeat(40), || 0).len(), 63);
    }

    #[test]
    fn safe_encoding_is_upstreams() {
        // '0' is 48, and 48 % 27 = 21: the first digit of the alphabet but one.
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }
}

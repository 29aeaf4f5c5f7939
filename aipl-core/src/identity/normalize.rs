//! One form for each identifier: what differs only in writing is one value.
//!
//! Forms are those of definitions §7.5: phone numbers of 11 digits without 86, e-mail in lower case, IDFA in upper case with dashes, IMEI
//! of 14 or 15 digits in lower case, MAC addresses in upper case without separators.

use std::borrow::Cow;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::base::id::MAX_ID_BYTES;
use crate::identity::id_type::Hash;

/// Brings values of an identifier type to one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalizer {
    /// The value as it is.
    Exact,
    /// Without white space around it.
    Trim,
    /// A mobile number of mainland China: 11 digits, no 86.
    Phone,
    /// An e-mail address: trimmed, lower case.
    Email,
    /// An iOS advertising identifier: upper case with dashes.
    Idfa,
    /// A device number: 14 or 15 digits (or hexadecimal digits of an MEID), lower case.
    Imei,
    /// A network address: 12 hexadecimal digits, upper case.
    Mac,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal<'a> {
    /// A value in its one form.
    Plain(Cow<'a, str>),
    /// A hashed value, in lower case.
    Hashed(Hash, Cow<'a, str>),
    /// No value at all: empty, a word for nothing, or only zeros.
    Blank,
    /// No value of this type.
    Malformed,
}

impl Normalizer {
    /// Every normalizer by name.
    pub const ALL: [(&'static str, Normalizer); 7] = [
        ("exact", Normalizer::Exact),
        ("trim", Normalizer::Trim),
        ("phone", Normalizer::Phone),
        ("email", Normalizer::Email),
        ("idfa", Normalizer::Idfa),
        ("imei", Normalizer::Imei),
        ("mac", Normalizer::Mac),
    ];

    /// Whether 32 or 64 hexadecimal digits are a hashed value of this type.
    #[must_use]
    pub fn knows_hashes(self) -> bool {
        !matches!(self, Normalizer::Exact | Normalizer::Trim)
    }

    /// The one form of a value. Its own answers stay as they are.
    ///
    /// ```
    /// use aipl_core::identity::{Normal, Normalizer};
    /// let phone = |text| Normalizer::Phone.normalize(text);
    /// assert_eq!(phone("+86 139-1234-0000"), Normal::Plain("13912340000".into()));
    /// assert_eq!(phone("13912340000"), Normal::Plain("13912340000".into()));
    /// assert_eq!(phone("12345"), Normal::Malformed);
    /// assert_eq!(phone(" 000 "), Normal::Blank);
    /// ```
    #[must_use]
    pub fn normalize(self, text: &str) -> Normal<'_> {
        if self == Normalizer::Exact {
            return if text.is_empty() {
                Normal::Blank
            } else {
                bounded(Cow::Borrowed(text))
            };
        }
        let text = trimmed(text);
        if is_blank(text) {
            return Normal::Blank;
        }
        if self.knows_hashes()
            && let Some(hash) = hash_form(text)
        {
            return Normal::Hashed(hash, lower(text));
        }
        let plain = match self {
            Normalizer::Exact | Normalizer::Trim => return bounded(Cow::Borrowed(text)),
            Normalizer::Phone => phone(text),
            Normalizer::Email => email(text),
            Normalizer::Idfa => idfa(text),
            Normalizer::Imei => imei(text),
            Normalizer::Mac => mac(text),
        };
        plain.map_or(
            Normal::Malformed,
            |text| if is_blank(&text) { Normal::Blank } else { Normal::Plain(text) },
        )
    }
}

/// As `str::trim`; values without anything to trim, which is nearly all, are told by their first and last byte.
#[inline]
fn trimmed(text: &str) -> &str {
    let solid = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    if solid(text.as_bytes().first()) && solid(text.as_bytes().last()) {
        text
    } else {
        text.trim()
    }
}

fn bounded(text: Cow<'_, str>) -> Normal<'_> {
    if text.len() <= MAX_ID_BYTES {
        Normal::Plain(text)
    } else {
        Normal::Malformed
    }
}

/// Words that stand for no value, and values of nothing but zeros.
fn is_blank(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "null",
        "none",
        "nil",
        "nan",
        "n/a",
        "na",
        "undefined",
        "unknown",
        "(null)",
        "-",
        "-1",
    ];
    let zeros = || text.bytes().all(|byte| matches!(byte, b'0' | b'-' | b':' | b'.' | b' '));
    match text.as_bytes().first() {
        None => true,
        Some(b'0' | b'-' | b':' | b'.') if zeros() => true,
        Some(_) => text.len() <= 9 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)),
    }
}

fn hash_form(text: &str) -> Option<Hash> {
    let hash = match text.len() {
        32 => Hash::Md5,
        64 => Hash::Sha256,
        _ => return None,
    };
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(hash)
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// A mobile number of mainland China: 11 digits from 13 to 19.
fn is_mobile(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 11 && bytes[0] == b'1' && (b'3'..=b'9').contains(&bytes[1]) && bytes.iter().all(u8::is_ascii_digit)
}

/// What a number that floating point has been through was before.
fn whole(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

fn phone(text: &str) -> Option<Cow<'_, str>> {
    if is_mobile(text) {
        return Some(Cow::Borrowed(text));
    }
    let digits = without(whole(text), |letter| matches!(letter, ' ' | '-' | '(' | ')' | '.' | '\u{a0}'));
    // With a country code it is that country's number: another country's must not pass for a Chinese one.
    let bare = match ["+86", "0086", "086", "86"].iter().find_map(|code| digits.strip_prefix(code)) {
        Some(rest) if is_mobile(rest) => rest,
        _ => &digits,
    };
    (is_mobile(bare) || bare.bytes().all(|byte| byte == b'0')).then(|| Cow::Owned(bare.to_owned()))
}

fn email(text: &str) -> Option<Cow<'_, str>> {
    let (user, domain) = text.rsplit_once('@')?;
    let good = !user.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace) && text.len() <= MAX_ID_BYTES;
    good.then(|| {
        if text.chars().any(char::is_uppercase) {
            Cow::Owned(text.to_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    })
    .filter(|text| text.len() <= MAX_ID_BYTES)
}

/// 8-4-4-4-12 hexadecimal digits. Without dashes they would be an MD5.
fn idfa(text: &str) -> Option<Cow<'_, str>> {
    let good = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if matches!(at, 8 | 13 | 18 | 23) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    good.then(|| Cow::Owned(text.to_ascii_uppercase()))
}

fn imei(text: &str) -> Option<Cow<'_, str>> {
    let digits = without(whole(text), |letter| matches!(letter, ' ' | '-' | '/'));
    let good = matches!(digits.len(), 14 | 15) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| Cow::Owned(digits.to_ascii_lowercase()))
}

fn mac(text: &str) -> Option<Cow<'_, str>> {
    let digits = without(text, |letter| matches!(letter, ':' | '-' | '.' | ' '));
    let good = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| Cow::Owned(digits.to_ascii_uppercase()))
}

fn without(text: &str, dropped: impl Fn(char) -> bool) -> String {
    text.chars().filter(|letter| !dropped(*letter)).collect()
}

/// The hexadecimal digits of a hashed value.
#[must_use]
pub fn hashed(hash: Hash, text: &str) -> String {
    let bytes: Vec<u8> = match hash {
        Hash::Md5 => Md5::digest(text.as_bytes()).to_vec(),
        Hash::Sha256 => Sha256::digest(text.as_bytes()).to_vec(),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Values that belong to nobody, in their one form: numbers that forms and shops fill in, addresses for documents and tests, device
/// numbers of emulators and of systems that hide the real one.
#[must_use]
pub fn built_in_ignores(normalizer: Normalizer) -> Vec<String> {
    let listed: &[&str] = match normalizer {
        Normalizer::Exact | Normalizer::Trim | Normalizer::Idfa => &[],
        Normalizer::Phone => &["13800138000"],
        Normalizer::Email => &[
            "test@test.com",
            "test@example.com",
            "user@example.com",
            "a@a.com",
            "test@qq.com",
            "noreply@example.com",
        ],
        Normalizer::Imei => &["111111111111111", "123456789012345", "012345678912345", "004999010640000"],
        Normalizer::Mac => &["FFFFFFFFFFFF", "020000000000", "111111111111"],
    };
    let mut values: Vec<String> = listed.iter().map(|text| (*text).to_owned()).collect();
    if normalizer == Normalizer::Phone {
        for prefix in 130..200 {
            // The two patterns that people type when they do not want to give a number.
            values.push(format!("{prefix}00000000"));
            values.push(format!("{prefix}12345678"));
        }
    }
    values
}

/// What hashed columns hold where there was nothing to hash.
#[must_use]
pub fn blank_words() -> [&'static str; 8] {
    ["", "0", "null", "NULL", "none", "None", "nan", "undefined"]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(normalizer: Normalizer, text: &str) -> Option<String> {
        match normalizer.normalize(text) {
            Normal::Plain(text) => Some(text.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn published_forms() {
        let vectors = [
            (Normalizer::Phone, "+86 139 1234 5679", "13912345679"),
            (Normalizer::Phone, "8613912345679", "13912345679"),
            (Normalizer::Phone, "0086-13912345679", "13912345679"),
            (Normalizer::Phone, "13912345679.0", "13912345679"),
            (Normalizer::Imei, "352099001761481.0", "352099001761481"),
            (Normalizer::Email, "  Ada.L@Example.ORG ", "ada.l@example.org"),
            (
                Normalizer::Idfa,
                "6d92078a-8246-4ba4-ae5b-76104861e7dc",
                "6D92078A-8246-4BA4-AE5B-76104861E7DC",
            ),
            (Normalizer::Imei, "35 868305 2315677", "358683052315677"),
            (Normalizer::Imei, "A000004E1F2B3C", "a000004e1f2b3c"),
            (Normalizer::Mac, "00:1b:44:11:3a:b7", "001B44113AB7"),
            (Normalizer::Trim, " Ab ", "Ab"),
            (Normalizer::Exact, " Ab ", " Ab "),
        ];
        for (normalizer, raw, normal) in vectors {
            assert_eq!(plain(normalizer, raw).as_deref(), Some(normal), "{normalizer:?} {raw}");
        }
    }

    #[test]
    fn nothing_is_blank_and_nonsense_is_malformed() {
        for text in [
            "",
            "  ",
            "0",
            "000000000000000",
            "00000000-0000-0000-0000-000000000000",
            "00:00:00:00:00:00",
            "NULL",
            "n/a",
            "-1",
        ] {
            for (_, normalizer) in Normalizer::ALL.into_iter().skip(1) {
                assert_eq!(normalizer.normalize(text), Normal::Blank, "{normalizer:?} {text:?}");
            }
        }
        for (normalizer, text) in [
            (Normalizer::Phone, "010-6552"),
            (Normalizer::Phone, "+1 415 555 2671"),
            (Normalizer::Phone, "+1 391 234 5679"),
            (Normalizer::Phone, "12012345670"),
            (Normalizer::Email, "ada"),
            (Normalizer::Mac, "00:1b"),
            (Normalizer::Idfa, "6d92"),
        ] {
            assert_eq!(normalizer.normalize(text), Normal::Malformed);
        }
        assert_eq!(Normalizer::Trim.normalize(&"x".repeat(257)), Normal::Malformed);
    }

    #[test]
    fn hashes_are_told_by_their_length() {
        let md5 = hashed(Hash::Md5, "13912345679");
        assert_eq!(hashed(Hash::Md5, ""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(
            hashed(Hash::Sha256, ""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            Normalizer::Phone.normalize(&md5.to_uppercase()),
            Normal::Hashed(Hash::Md5, md5.as_str().into())
        );
        // A column without a known plain form has no hashed one either.
        assert_eq!(Normalizer::Trim.normalize(&md5), Normal::Plain(md5.as_str().into()));
    }

    proptest! {
        #[test]
        fn normalizing_twice_is_normalizing_once(text in "\\PC{0,40}|[0-9 +()-]{5,20}|[0-9a-fA-F:-]{12,40}|[0-9a-fA-F]{32}|\\PC{1,9}@\\PC{1,9}") {
            for (_, normalizer) in Normalizer::ALL {
                match normalizer.normalize(&text) {
                    Normal::Plain(once) => prop_assert_eq!(normalizer.normalize(&once), Normal::Plain(once.as_ref().into())),
                    Normal::Hashed(hash, once) => prop_assert_eq!(normalizer.normalize(&once), Normal::Hashed(hash, once.as_ref().into())),
                    Normal::Blank | Normal::Malformed => {}
                }
            }
        }
    }
}

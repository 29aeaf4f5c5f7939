//! Identifier types: what a phone number, a device or an account is to identity resolution.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityError;
use crate::identity::normalize::Normalizer;

/// The most identifier types of one map (Quick Audience's own limit).
pub const MAX_ID_TYPES: usize = 50;

/// The four families of identifiers (definitions §7.4, Quick Audience).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Phone, e-mail.
    Personal,
    /// IMEI, IDFA, IMSI, OAID, MAC, cookies. Many devices do not make many people.
    Device,
    /// The brand's own, such as a member number.
    FirstParty,
    /// Accounts of platforms, such as Taobao, Alipay, UnionID, OpenID.
    ThirdParty,
}

/// How hashed values were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// MD5, 32 hexadecimal digits.
    Md5,
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hash::Md5 => "md5",
            Hash::Sha256 => "sha256",
        })
    }
}

/// One type of identifier. Its priority is its place in the list of types.
///
/// ```
/// use aipl_core::identity::{Family, IdType};
/// let device = IdType::named("device");
/// assert_eq!((device.family, device.joining, device.single), (Family::Device, true, false));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdType {
    /// Its name, which is that of its column.
    pub name: String,
    /// Its family: values of other families than devices stand for people where it is counted how many share an identifier.
    pub family: Family,
    /// Whether a shared value joins rows to one person; if not, it is only carried.
    pub joining: bool,
    /// Whether a person has at most one value.
    pub single: bool,
    /// Brings values to one form.
    pub normalizer: Normalizer,
    /// How its values are hashed. `None` finds out: plain, unless hashed values are met.
    pub hash: Option<Hash>,
    /// Values that identify nobody, besides those that are built in.
    pub ignore: Vec<String>,
}

impl IdType {
    /// A joining type with many values a person; family and normalizer follow from well-known names.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let (family, normalizer) = match name {
            "phone" | "mobile" => (Family::Personal, Normalizer::Phone),
            "email" => (Family::Personal, Normalizer::Email),
            "idfa" => (Family::Device, Normalizer::Idfa),
            "imei" => (Family::Device, Normalizer::Imei),
            "mac" => (Family::Device, Normalizer::Mac),
            "device" | "device_id" | "imsi" | "oaid" | "aaid" | "gaid" | "android_id" | "cookie" => (Family::Device, Normalizer::Trim),
            "member" | "member_id" | "one_id" => (Family::FirstParty, Normalizer::Trim),
            _ => (Family::ThirdParty, Normalizer::Trim),
        };
        IdType {
            name: name.to_owned(),
            family,
            joining: true,
            single: false,
            normalizer,
            hash: None,
            ignore: Vec::new(),
        }
    }

    /// Mixed into the number of each of its identifiers, so that equal texts of different types differ.
    pub(crate) fn seed(&self) -> u64 {
        seed(&self.name)
    }
}

/// What the name of an identifier type adds to the numbers of its identifiers.
pub(crate) fn seed(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

/// Checks a list of types.
///
/// # Errors
/// None, too many, a name that is empty, reserved or there twice, or no joining type.
pub fn check(types: &[IdType]) -> Result<(), IdentityError> {
    const RESERVED: [&str; 7] = ["person", "batch", "row", "seen_at", "source", "id", "id_type"];
    let wrong = |problem: String| {
        Err(IdentityError::Parameter {
            field: "id_types".to_owned(),
            problem,
        })
    };
    if types.is_empty() || types.len() > MAX_ID_TYPES {
        return wrong(format!("{} types given; 1 to {MAX_ID_TYPES} are needed", types.len()));
    }
    for (at, id_type) in types.iter().enumerate() {
        let name = &id_type.name;
        if name.trim().is_empty() || RESERVED.contains(&name.as_str()) {
            return wrong(format!("{name:?} cannot be the name of an id type"));
        }
        if types[..at].iter().any(|earlier| earlier.name == *name) {
            return wrong(format!("{name:?} is there twice"));
        }
        if id_type.hash.is_some() && !id_type.normalizer.knows_hashes() {
            return wrong(format!(
                "{name:?} has hashed values, which needs a normalizer of phone, email, idfa, imei or mac"
            ));
        }
    }
    if !types.iter().any(|id_type| id_type.joining) {
        return wrong("no type is joining, so that nothing could be resolved".to_owned());
    }
    Ok(())
}

//! Scopes: the values of the brand, brand × category, or store columns, and their dense numbers.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::base::IdValue;
use crate::base::suggest::{nearest, some_of};

/// A scope: a brand or a store, or a brand's category.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeValue {
    /// The brand or store.
    pub main: IdValue,
    /// The category, in brand × category scopes.
    pub category: Option<IdValue>,
}

impl ScopeValue {
    /// A brand or a store.
    pub fn of(main: impl Into<IdValue>) -> Self {
        ScopeValue {
            main: main.into(),
            category: None,
        }
    }

    /// A category of a brand.
    pub fn pair(brand: impl Into<IdValue>, category: impl Into<IdValue>) -> Self {
        ScopeValue {
            main: brand.into(),
            category: Some(category.into()),
        }
    }
}

impl fmt::Display for ScopeValue {
    /// The text of a scope; `brand/category` with `/` and `\` inside a part escaped by `\`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.category {
            None => write!(f, "{}", self.main),
            Some(category) => {
                let escape = |part: &IdValue| part.to_string().replace('\\', "\\\\").replace('/', "\\/");
                write!(f, "{}/{}", escape(&self.main), escape(category))
            }
        }
    }
}

/// The scope nearest in spelling to one that is not there, and some of those that are, as the tail of a message.
#[must_use]
pub fn scope_hint(scope: &ScopeValue, known: &[ScopeValue]) -> String {
    let texts: Vec<String> = known.iter().map(ToString::to_string).collect();
    let near = nearest(&scope.to_string(), texts.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    match texts.len() {
        0 => format!("{near}; it has none"),
        _ => format!("{near}; scopes: {}", some_of(&texts)),
    }
}

/// Numbers scopes as they are met, shared by all workers of a scan.
#[derive(Debug, Default)]
pub(crate) struct ScopeNumbers {
    /// Only these scopes are wanted, if any are named; they have the first numbers.
    named: Option<usize>,
    known: Mutex<HashMap<ScopeValue, u32>>,
    /// Numbers of named scopes that were met.
    met: Mutex<BTreeSet<u32>>,
}

impl ScopeNumbers {
    pub fn new(named: Option<&[ScopeValue]>) -> Self {
        let known: HashMap<ScopeValue, u32> = named.into_iter().flatten().cloned().zip(0..).collect();
        ScopeNumbers {
            named: named.map(<[ScopeValue]>::len),
            known: Mutex::new(known),
            met: Mutex::default(),
        }
    }

    /// The number of a scope; `None` if it is not wanted.
    pub fn number(&self, scope: ScopeValue) -> Option<u32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.named.is_some() {
            let number = known.get(&scope).copied();
            self.met.lock().unwrap_or_else(PoisonError::into_inner).extend(number);
            return number;
        }
        let next = known.len() as u32;
        Some(*known.entry(scope).or_insert(next))
    }

    /// Named scopes of which there was nothing.
    pub fn unmet(&self) -> Vec<ScopeValue> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = self.named.unwrap_or(0) as u32;
        let mut unmet: Vec<ScopeValue> = known
            .iter()
            .filter(|(_, number)| **number < named && !met.contains(number))
            .map(|(scope, _)| scope.clone())
            .collect();
        unmet.sort();
        unmet
    }

    /// All scopes in order of value, and for each number met its place in that order.
    pub fn settle(&self) -> (Vec<ScopeValue>, Vec<u32>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut scopes: Vec<(ScopeValue, u32)> = known.into_iter().collect();
        scopes.sort();
        let mut places = vec![0; scopes.len()];
        scopes
            .iter()
            .zip(0..)
            .for_each(|((_, number), place)| places[*number as usize] = place);
        (scopes.into_iter().map(|(scope, _)| scope).collect(), places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_pair_is_unambiguous() {
        assert_eq!(ScopeValue::pair("a/b", "c").to_string(), "a\\/b/c");
        assert_eq!(ScopeValue::pair("a", "b/c").to_string(), "a/b\\/c");
        assert_eq!(ScopeValue::pair("a\\", "b").to_string(), "a\\\\/b");
        assert_eq!(ScopeValue::of("a/b").to_string(), "a/b");
    }

    #[test]
    fn numbers_settle_in_value_order() {
        let numbers = ScopeNumbers::new(None);
        assert_eq!(
            ["z", "a", "m", "a"].map(|name| numbers.number(ScopeValue::of(name))),
            [Some(0), Some(1), Some(2), Some(1)]
        );
        let (scopes, places) = numbers.settle();
        assert_eq!(scopes, ["a", "m", "z"].map(ScopeValue::of));
        assert_eq!(places, [2, 0, 1]);
        let named = ScopeNumbers::new(Some(&[ScopeValue::of("b")]));
        assert_eq!(
            (named.number(ScopeValue::of("b")), named.number(ScopeValue::of("c"))),
            (Some(0), None)
        );
    }
}

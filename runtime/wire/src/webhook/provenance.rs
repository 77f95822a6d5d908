//! Who chose the URL of a webhook: the operator or a caller.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Who chose a URL. Only a URL that the operator chose can be trusted; the text of the URL alone proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// The URL comes from the program's settings, states or constants.
    Operator,
    /// The URL comes from a request, or its source is not known.
    Caller,
}

/// Combines an earlier statement about who chose a URL with a new one. `Caller` wins, so that a URL that a caller chose
/// never becomes trusted.
pub(super) fn stricter(earlier: Option<Provenance>, now: Provenance) -> Provenance {
    if earlier == Some(Provenance::Caller) { Provenance::Caller } else { now }
}

/// A type of handler parameter that holds the operator's values: `Config`, `State`, or a reference to one of them.
pub trait Operators {
    /// Whether the runtime made this value. If the user's code made the value, it may hold a caller's URL.
    fn is_operator(&self) -> bool;
}

macro_rules! implement_for_pointers {
    ($($pointer:ty),*) => {$(
        impl<T: Operators + ?Sized> Operators for $pointer {
            fn is_operator(&self) -> bool {
                (**self).is_operator()
            }
        }
    )*};
}

implement_for_pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

/// Finds out whether a parameter of an annotated function holds the operator's values:
/// `OperatorCheck(&parameter).is_operator()`.
///
/// This works for a parameter of any type. If the type implements [`Operators`], the compiler calls the method of
/// `OperatorCheck`. Otherwise it finds the method of [`Anybodys`], which returns `false`. So the parameter's type needs
/// no bound.
#[derive(Debug)]
pub struct OperatorCheck<'a, T: ?Sized>(pub &'a T);

impl<T: Operators + ?Sized> OperatorCheck<'_, T> {
    /// Whether the parameter holds the operator's values.
    pub fn is_operator(&self) -> bool {
        self.0.is_operator()
    }
}

/// Replaces a parameter whose type does not implement [`Operators`]. Such a type does not say who chose its value.
#[derive(Debug)]
pub struct Anybodys;

impl Anybodys {
    /// Returns `false`: a caller may have chosen the value.
    #[expect(clippy::unused_self, reason = "generated code calls this as a method, like that of `OperatorCheck`")]
    pub fn is_operator(&self) -> bool {
        false
    }
}

impl<T: ?Sized> Deref for OperatorCheck<'_, T> {
    type Target = Anybodys;

    fn deref(&self) -> &Anybodys {
        &Anybodys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(bool);

    impl Operators for Given {
        fn is_operator(&self) -> bool {
            self.0
        }
    }

    type Alias = Given;

    fn generic<T>(value: &T) -> bool {
        OperatorCheck(value).is_operator()
    }

    #[test]
    fn a_parameter_of_any_type_can_be_asked() {
        let (given, made): (Alias, Given) = (Given(true), Given(false));
        assert!(OperatorCheck(&given).is_operator() && OperatorCheck(&&given).is_operator());
        assert!(
            OperatorCheck(&Arc::new(Given(true))).is_operator()
                && OperatorCheck(&Box::new(&mut Given(true))).is_operator()
        );
        assert!(!OperatorCheck(&made).is_operator() && !OperatorCheck(&&made).is_operator());
        assert!(!OperatorCheck("https://example.com").is_operator() && !OperatorCheck(&Some(given)).is_operator());
        assert!(!generic(&Given(true)), "a generic function does not know the type");
    }
}

//! Who chose the URL of a webhook: the operator or a caller.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Who chose a URL: the operator or a caller. Only a URL that the operator chose can be trusted. The text of a URL does
/// not show who chose the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// The URL comes from the program's settings, states or constants.
    Operator,
    /// The URL comes from a request, or its source is not known.
    Caller,
}

/// Combines two statements about who chose a URL. If one of the statements is `Caller`, the result is `Caller`, so that
/// a URL that a caller chose never becomes trusted.
pub(super) fn stricter(earlier: Option<Provenance>, now: Provenance) -> Provenance {
    if earlier == Some(Provenance::Caller) { Provenance::Caller } else { now }
}

/// A type of handler parameter whose value may come from the operator: `Config`, `State`, or a reference to one of
/// them.
pub trait Operators {
    /// Whether the value comes from the operator. Returns `true` if this crate's server made the value from the
    /// operator's settings or states. Returns `false` if the user's code made the value, because the user's code may
    /// have copied a URL from a request into the value.
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

/// Checks whether the value of a parameter comes from the operator. Generated code calls
/// `OperatorCheck(&parameter).is_operator()`.
///
/// The call compiles for parameters of every type. If the parameter's type implements [`Operators`], the compiler uses
/// the method of `OperatorCheck`. Otherwise the compiler uses the method of [`Anybodys`], which returns `false`.
#[derive(Debug)]
pub struct OperatorCheck<'a, T: ?Sized>(pub &'a T);

impl<T: Operators + ?Sized> OperatorCheck<'_, T> {
    /// Whether the value of the parameter comes from the operator.
    pub fn is_operator(&self) -> bool {
        self.0.is_operator()
    }
}

/// A type whose method `is_operator` always returns `false`. The compiler chooses this method for parameters whose
/// type does not implement [`Operators`]. The method returns `false`, because nobody knows who chose the value
/// of such a parameter.
#[derive(Debug)]
pub struct Anybodys;

impl Anybodys {
    /// Returns `false`, because a caller may have chosen the value of the parameter.
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

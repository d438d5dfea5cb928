//! What libtorch says when a call of its fails.

use std::any::Any;

/// How the shim's own panics begin.
pub(super) const SHIM: &str = "libtorch: ";
/// How those of a recomputed block begin, around the block's own message.
const AGAIN: &str = "a block failed when it was computed again: ";

/// The first line of libtorch's message, if the panic is one of tch's or the shim's; further lines
/// are its C++ backtrace. Of other panics, which may quote what people typed, nothing.
pub fn libtorch_message(panic: &(dyn Any + Send)) -> Option<&str> {
    message(panic.downcast_ref::<String>()?)
}

fn message(panic: &str) -> Option<&str> {
    if let Some(own) = panic.strip_prefix(SHIM) {
        return match own.strip_prefix(AGAIN) {
            Some(inner) => message(inner),
            None => own.lines().next(),
        };
    }
    panic.split_once("Err` value: Torch(")?.1.split("\\n").next()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use tch::{Tensor, kind};

    use super::*;

    #[test]
    fn only_libtorch_s_own_words_are_told() {
        let shapes = catch_unwind(|| drop(Tensor::zeros([2], kind::FLOAT_CPU).view([3])));
        let shapes = shapes.unwrap_err();
        let found = libtorch_message(shapes.as_ref()).unwrap();
        assert!(found.contains("invalid for input of size 2"), "{found}");
        assert!(!found.contains("Exception raised"), "{found}");
        let typed: Box<dyn Any + Send> = Box::new("byte index 1 of `secret`".to_owned());
        assert_eq!(libtorch_message(typed.as_ref()), None);
    }

    #[test]
    fn the_shim_s_words_are_libtorch_s_too() {
        let shapes = catch_unwind(|| {
            let [x, weight] = [[2, 3], [4, 5]].map(|size| Tensor::zeros(size, kind::FLOAT_CPU));
            drop(crate::torch::linear(&x, &weight, None));
        });
        let shapes = shapes.unwrap_err();
        let found = libtorch_message(shapes.as_ref()).unwrap();
        assert!(found.contains("cannot be multiplied"), "{found}");
        assert_eq!(message(&format!("{SHIM}{AGAIN}byte index 1 of `secret`")), None);
        assert_eq!(
            message(&format!("{SHIM}{AGAIN}{SHIM}out of memory\nframe #0")),
            Some("out of memory")
        );
    }
}

//! Macros that print the output of the shop's commands.

macro_rules! outln {
    ($($text:tt)*) => { ::sagamore::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! errln {
    ($($text:tt)*) => {
        ::sagamore::output::complain(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub(crate) use {errln, outln};

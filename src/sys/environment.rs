#![allow(unsafe_code)]

/// Sets a variable of the environment, for libraries that find their settings there. Call it before there are threads.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: nobody else reads or changes the environment meanwhile, because there is no other thread.
    unsafe { std::env::set_var(name, value) };
}

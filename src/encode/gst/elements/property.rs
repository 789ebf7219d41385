use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

/// Sets the property `name` to the first of these values, with `|` between them, that it can have.
///
/// # Errors
/// If there is no such property, or it can have none of them.
pub(super) fn set(element: &gst::Element, name: &str, values: &str) -> Result<(), String> {
    let pspec = element.find_property(name).ok_or_else(|| format!("no property {name}"))?;
    let mut read =
        values.split('|').filter_map(|value| glib::Value::deserialize_with_pspec(value, &pspec).ok());
    let value =
        read.find(|value| can_be(&pspec, value)).ok_or_else(|| format!("{name} cannot be {values}"))?;
    element.set_property_from_value(name, &value);
    Ok(())
}

/// Tells whether a property can have a value of its type.
fn can_be(pspec: &glib::ParamSpec, value: &glib::Value) -> bool {
    let flags = pspec.flags();
    let numbers = if let Some(unsigned) = pspec.downcast_ref::<glib::ParamSpecUInt>() {
        value.get::<u32>().is_ok_and(|n| n >= unsigned.minimum() && n <= unsigned.maximum())
    } else if let Some(signed) = pspec.downcast_ref::<glib::ParamSpecInt>() {
        value.get::<i32>().is_ok_and(|n| n >= signed.minimum() && n <= signed.maximum())
    } else {
        true // a name or a yes: what could be read is one
    };
    numbers && flags.contains(glib::ParamFlags::WRITABLE) && !flags.contains(glib::ParamFlags::CONSTRUCT_ONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_a_property_can_have_is_set_and_others_are_no_panic() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("identity").build().unwrap();
        set(&element, "error-after", "many|7|9").unwrap();
        assert_eq!(element.property::<i32>("error-after"), 7);
        set(&element, "drop-probability", "0.5").unwrap();
        for (name, value) in
            [("error-after", "-5"), ("error-after", "x|y"), ("fast", "1"), ("last-message", "x")]
        {
            assert!(set(&element, name, value).is_err(), "{name} is {value}");
        }
    }
}

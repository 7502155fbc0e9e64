// SPDX-License-Identifier: MPL-2.0
//! Properties whose values lie in a structure: each is one entry of a table.

use gst::glib;

/// A property with its value in `S`.
pub struct Property<S: 'static> {
    /// What it is called.
    pub name: &'static str,
    /// How `gst-inspect-1.0` shows it, given its name, the defaults, and whether the element is live.
    pub spec: fn(&'static str, &S, bool) -> glib::ParamSpec,
    /// Writes its value; GObject has checked its type.
    pub set: fn(&mut S, &glib::Value),
    /// Reads its value.
    pub get: fn(&S) -> glib::Value,
}

/// An entry of a table: the property's name, the field that holds its value, and how it is shown.
macro_rules! property {
    ($name:literal, $field:ident, $spec:expr) => {
        $crate::property::Property {
            name: $name,
            spec: $spec,
            set: |values, value| values.$field = $crate::property::Value::take(value),
            get: |values| gst::glib::prelude::ToValue::to_value(&values.$field),
        }
    };
}
pub(crate) use property;

/// What can be the value of a property.
pub trait Value {
    /// The value; GObject has checked its type.
    fn take(value: &glib::Value) -> Self;
}

/// Text that is not there is empty.
impl Value for String {
    fn take(value: &glib::Value) -> Self {
        get::<Option<Self>>(value).unwrap_or_default()
    }
}

macro_rules! values {
    ($($kind:ty),*) => {
        $(
            impl Value for $kind {
                fn take(value: &glib::Value) -> Self {
                    get(value)
                }
            }
        )*
    };
}

values!(bool, i32, i64, u32, u64, f64, gst::ClockTime);
values!(
    crate::enums::Context,
    crate::enums::ExecutionProvider,
    crate::enums::Paste,
    crate::enums::Precision,
    crate::enums::State
);

fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().unwrap_or_else(|e| unreachable!("type checked by GObject: {e}"))
}

/// The properties of a table as `gst-inspect-1.0` shows them.
pub fn specs<S: Default>(table: &[Property<S>], is_live: bool) -> Vec<glib::ParamSpec> {
    let default = S::default();
    table.iter().map(|property| (property.spec)(property.name, &default, is_live)).collect()
}

/// Writes the value of a property, if it is in the table.
pub fn set<S>(table: &[Property<S>], values: &mut S, name: &str, value: &glib::Value) -> bool {
    let property = table.iter().find(|property| property.name == name);
    property.map(|property| (property.set)(values, value)).is_some()
}

/// Reads the value of a property, if it is in the table.
pub fn value<S>(table: &[Property<S>], values: &S, name: &str) -> Option<glib::Value> {
    table.iter().find(|property| property.name == name).map(|property| (property.get)(values))
}

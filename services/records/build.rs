//! The migrations are embedded by a macro that cargo does not know to run again when a file is added.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}

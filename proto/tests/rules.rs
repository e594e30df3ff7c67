//! The packages keep the rules of buf's categories STANDARD and COMMENTS, checked without installing buf.

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, ServiceDescriptorProto};

const FILES: [&str; 5] = [
    "bulkhead/types/v1/event.proto",
    "bulkhead/types/v1/effect.proto",
    "bulkhead/runner/v1/runner_service.proto",
    "bulkhead/host/v1/host_service.proto",
    "bulkhead/worker/v1/worker_service.proto",
];

#[test]
fn the_packages_keep_bufs_rules() {
    let set = protox::compile(FILES, [env!("CARGO_MANIFEST_DIR")]).unwrap();
    let ours: Vec<_> = set.file.iter().filter(|file| file.name().starts_with("bulkhead/")).collect();
    assert_eq!(ours.len(), FILES.len());
    let mut findings = Vec::new();
    for file in ours {
        check_file(file, &mut findings);
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

fn check_file(file: &FileDescriptorProto, findings: &mut Vec<String>) {
    let directory = file.name().rsplit_once('/').map(|(directory, _)| directory.replace('/', "."));
    let mut expect = |holds: bool, what: String| {
        if !holds {
            findings.push(format!("{}: {what}", file.name()));
        }
    };
    expect(directory.as_deref() == Some(file.package()), "the package is not the directory".into());
    expect(file.package().ends_with(".v1"), "the package has no version".into());
    expect(
        is_lower_snake(file.name().rsplit('/').next().unwrap_or_default().trim_end_matches(".proto")),
        "file name".into(),
    );
    for (path, name) in elements(file) {
        expect(has_comment(file, &path), format!("`{name}` has no comment"));
    }
    for message in &file.message_type {
        check_message(message, &mut expect);
    }
    for entry in &file.enum_type {
        check_enum(entry, &mut expect);
    }
    for service in &file.service {
        check_service(service, &mut expect);
    }
}

fn check_message(message: &DescriptorProto, expect: &mut impl FnMut(bool, String)) {
    expect(is_pascal(message.name()), format!("message `{}`", message.name()));
    for field in &message.field {
        expect(is_lower_snake(field.name()), format!("field `{}.{}`", message.name(), field.name()));
    }
    for oneof in &message.oneof_decl {
        // proto3's `optional` makes a oneof of its own whose name starts with an underscore.
        expect(
            is_lower_snake(oneof.name().trim_start_matches('_')),
            format!("oneof `{}.{}`", message.name(), oneof.name()),
        );
    }
}

fn check_enum(entry: &EnumDescriptorProto, expect: &mut impl FnMut(bool, String)) {
    let prefix = upper_snake(entry.name());
    expect(is_pascal(entry.name()), format!("enum `{}`", entry.name()));
    for value in &entry.value {
        expect(
            value.name().starts_with(&format!("{prefix}_")),
            format!("enum value `{}` lacks its prefix", value.name()),
        );
        let is_zero = value.number() == 0;
        expect(is_zero == value.name().ends_with("_UNSPECIFIED"), format!("zero value `{}`", value.name()));
    }
}

fn check_service(service: &ServiceDescriptorProto, expect: &mut impl FnMut(bool, String)) {
    expect(service.name().ends_with("Service"), format!("service `{}` lacks its suffix", service.name()));
    for method in &service.method {
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        expect(
            last(method.input_type()) == format!("{}Request", method.name()),
            format!("request of `{}`", method.name()),
        );
        expect(
            last(method.output_type()) == format!("{}Response", method.name()),
            format!("response of `{}`", method.name()),
        );
    }
}

/// Places of everything that needs a comment, in the numbering of `SourceCodeInfo`.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut all = Vec::new();
    let index = |index: usize| i32::try_from(index).unwrap_or(i32::MAX);
    for (m, message) in file.message_type.iter().enumerate() {
        // Entries of maps are made by the compiler.
        all.push((vec![4, index(m)], message.name().to_owned()));
        for (f, field) in message.field.iter().enumerate() {
            all.push((vec![4, index(m), 2, index(f)], format!("{}.{}", message.name(), field.name())));
        }
        for (o, oneof) in message.oneof_decl.iter().enumerate().filter(|(_, oneof)| !oneof.name().starts_with('_')) {
            all.push((vec![4, index(m), 8, index(o)], format!("{}.{}", message.name(), oneof.name())));
        }
    }
    for (e, entry) in file.enum_type.iter().enumerate() {
        all.push((vec![5, index(e)], entry.name().to_owned()));
        for (v, value) in entry.value.iter().enumerate() {
            all.push((vec![5, index(e), 2, index(v)], value.name().to_owned()));
        }
    }
    for (s, service) in file.service.iter().enumerate() {
        all.push((vec![6, index(s)], service.name().to_owned()));
        for (r, method) in service.method.iter().enumerate() {
            all.push((vec![6, index(s), 2, index(r)], format!("{}.{}", service.name(), method.name())));
        }
    }
    all
}

fn has_comment(file: &FileDescriptorProto, path: &[i32]) -> bool {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.filter(|location| location.path == path).any(|location| !location.leading_comments().trim().is_empty())
}

fn is_lower_snake(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn upper_snake(name: &str) -> String {
    let mut upper = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !upper.is_empty() {
            upper.push('_');
        }
        upper.push(c.to_ascii_uppercase());
    }
    upper
}

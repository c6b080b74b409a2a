//! What must hold for every kind, whatever the object: no panic, tables in shape, defaults that are final.
use crate::support::{NOW, json};
use api::{Resource, Scope, Target};
use apimachinery::schema::{self, Schema, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const DEPTH_MAX: usize = 9;

/// A value for every field the schema has; `seed` chooses among shapes, from empty to nonsense.
fn value(type_: Type, seed: u64, depth: usize) -> Value {
    let pick = |options: &[Value]| options[usize::try_from(seed).unwrap_or_default() % options.len()].clone();
    match type_ {
        Type::String => pick(&[json!("a"), json!(""), json!("Always"), json!("In"), json!("a/b"), json!("..")]),
        Type::Bytes => json!("YQ=="),
        Type::Bool => json!(seed.is_multiple_of(2)),
        Type::Int32 | Type::Int64 => pick(&[json!(0), json!(1), json!(-1), json!(i32::MAX), json!(80)]),
        Type::Double => json!(0.5),
        Type::Time => json!("2026-01-01T00:00:00Z"),
        Type::MicroTime => json!("2026-01-01T00:00:00.000000Z"),
        Type::Duration => json!("1s"),
        Type::Quantity => pick(&[json!("1"), json!("0.5"), json!("-1Gi"), json!("1000m")]),
        Type::IntOrString => pick(&[json!(1), json!("25%"), json!("http"), json!(-5), json!("")]),
        Type::RawExtension | Type::FieldsV1 | Type::Any => json!({"a": 1}),
        Type::Object(schema) => object(schema, seed, depth + 1),
        Type::List(items) => match seed % 3 {
            0 => json!([]),
            1 => json!([value(items.get(), seed, depth + 1)]),
            _ => json!([value(items.get(), seed, depth + 1), value(items.get(), seed + 1, depth + 1)]),
        },
        Type::Map(values) => {
            json!({"cpu": value(values.get(), seed, depth + 1), "A b": value(values.get(), seed + 1, depth + 1)})
        }
    }
}

fn object(schema: Schema, seed: u64, depth: usize) -> Value {
    let mut map = Map::new();
    if depth > DEPTH_MAX {
        return Value::Object(map);
    }
    for (i, field) in schema.fields().enumerate() {
        // A stride per field, so that neighbours differ and each is left out now and then.
        let seed = seed.wrapping_mul(31).wrapping_add(i as u64 * 7);
        if matches!(field.name(), "apiVersion" | "kind") || (seed % 5 == 4 && !field.is_required()) {
            continue;
        }
        map.insert(field.name().to_owned(), value(field.type_(), seed, depth));
    }
    Value::Object(map)
}

fn schema_of(resource: &dyn Resource) -> Schema {
    let served = &resource.info().served[0];
    schema::of(&served.group, &served.version, &served.kind).unwrap()
}

fn through_everything(resource: &dyn Resource, given: &Value) {
    let kind = &resource.info().served[0].kind;
    let decoded = resource.decode(given.to_string().as_bytes()).unwrap_or_else(|e| panic!("{kind}: {e}\n{given:#}"));
    assert_eq!(decoded.unknown_fields, Vec::<String>::new(), "{kind}");
    let mut object = decoded.object;
    let _ = resource.row(&*object, NOW);
    resource.default(&mut *object);
    let once = json(&*object);
    resource.default(&mut *object);
    assert_eq!(once, json(&*object), "{kind}: defaulting twice changes more");
    let again = resource.decode_stored(&object.to_json()).unwrap();
    assert_eq!(once, json(&*again), "{kind}: what is written reads differently");
    let old = object.clone_box();
    for target in [Target::Main, Target::Status, Target::Other("ephemeralcontainers"), Target::Other("resize")] {
        let mut new = object.clone_box();
        resource.prepare_update(target, &mut *new, &*old);
        let _ = resource.validate_update(target, &*new, &*old);
    }
    resource.prepare_create(&mut *object);
    let _ = resource.validate_create(&*object);
    let _ = resource.warnings(&*object, Some(&*old));
    let _ = resource.warnings(&*object, None);
    let _ = resource.grace(&*object, Some(-3));
    let _ = resource.grace(&*object, None);
    assert_eq!(resource.row(&*object, NOW).len(), resource.columns().len(), "{kind}: cells and columns");
    let fields = resource.field_values(&*object).len();
    assert_eq!(fields, resource.info().selectable_fields.len(), "{kind}: selectable fields");
    let scales = resource.info().subresources.iter().any(|s| s.name == "scale");
    assert_eq!(resource.scale(&*object).is_some(), scales, "{kind}: scale");
    if scales {
        resource.set_scale(&mut *object, 7);
        assert_eq!(resource.scale(&*object).unwrap().spec_replicas, 7, "{kind}");
    }
}

#[test]
fn nothing_a_client_sends_breaks_a_kind() {
    for resource in api::registry() {
        through_everything(&*resource, &json!({"metadata": {"name": "a"}}));
        through_everything(&*resource, &json!({}));
        for seed in 0..40 {
            through_everything(&*resource, &object(schema_of(&*resource), seed, 0));
        }
    }
}

#[test]
fn names_are_told_apart() {
    let (mut prefixes, mut plurals) = (BTreeSet::new(), BTreeSet::new());
    for resource in api::registry() {
        let info = resource.info();
        assert!(prefixes.insert(info.storage_prefix.clone()), "{} is stored twice", info.storage_prefix);
        for served in &info.served {
            let group = served.group.clone();
            assert!(plurals.insert((group, served.version.clone(), info.plural.clone())), "{}", info.plural);
        }
        assert!(info.verbs.is_sorted(), "{}: verbs", info.plural);
        assert!(resource.columns().iter().all(|c| !c.description.is_empty()), "{}: columns", info.plural);
    }
}

#[test]
fn discovery_at_a_glance() {
    let mut lines: Vec<String> = api::registry()
        .iter()
        .map(|resource| {
            let info = resource.info();
            let versions: Vec<String> = info.served.iter().map(|s| format!("{}/{}", s.group, s.version)).collect();
            let subresources: Vec<&str> = info.subresources.iter().map(|s| s.name.as_ref()).collect();
            let short: Vec<&str> = info.short_names.iter().map(AsRef::as_ref).collect();
            let scope = if info.scope == Scope::Cluster { "cluster" } else { "namespaced" };
            format!(
                "{} [{}] {} {scope} {} categories={} sub={} fields={} stored={}",
                info.plural,
                short.join(","),
                info.served[0].kind,
                versions.join(" "),
                info.categories.join(","),
                subresources.join(","),
                info.selectable_fields.join(","),
                info.storage_prefix
            )
        })
        .collect();
    lines.sort();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("discovery", lines.join("\n"));
    });
}

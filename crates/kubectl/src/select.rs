//! Which objects a command is about: `TYPE`, `TYPE NAME…`, `TYPE/NAME…`, `TYPE1,TYPE2`, or files.
use crate::{Context, Error, Result, manifests, mapper::Resource};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// A resource, and one name or (without) all objects that the selectors leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub resource: Resource,
    pub name: Option<String>,
    /// `None` for cluster-scoped resources and for all namespaces.
    pub namespace: Option<String>,
}

impl Target {
    /// The path of the object, or of the collection.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => self.resource.object(self.namespace.as_deref(), name),
            None => self.resource.collection(self.namespace.as_deref()),
        }
    }
}

/// Add the flags and words that select objects.
pub fn add(command: Command) -> Command {
    command
        .arg(Arg::new("words").num_args(0..).value_name("TYPE[/NAME] [NAME ...]").help("Resource types and names"))
        .arg(selector())
        .arg(manifests::file_flag())
}

pub fn selector() -> Arg {
    Arg::new("selector")
        .short('l')
        .long("selector")
        .help("Selector (label query) to filter on, supports '=', '==', '!=', 'in', 'notin'.")
}

pub fn field_selector() -> Arg {
    Arg::new("field-selector")
        .long("field-selector")
        .help("Selector (field query) to filter on, supports '=', '==', and '!='.")
}

pub fn all_namespaces() -> Arg {
    Arg::new("all-namespaces")
        .short('A')
        .long("all-namespaces")
        .action(ArgAction::SetTrue)
        .help("If present, list the requested object(s) across all namespaces.")
}

/// All values of a flag or of the positional words.
pub fn words(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.try_get_many::<String>(name).ok().flatten().map(|all| all.cloned().collect()).unwrap_or_default()
}

/// A flag's text, empty when it was not given.
pub fn text(matches: &ArgMatches, name: &str) -> String {
    matches.try_get_one::<String>(name).ok().flatten().cloned().unwrap_or_default()
}

/// A flag with no value, or a boolean one.
pub fn flag(matches: &ArgMatches, name: &str) -> bool {
    matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
}

/// What the words and files of a command mean.
///
/// # Errors
/// No words at all, an unknown type, or a mixture of both forms.
pub async fn targets(context: &Context, matches: &ArgMatches) -> Result<Vec<Target>> {
    let all = flag(matches, "all-namespaces");
    let mut selecting = words(matches, "words");
    // `label pods web a=b`: pairs follow the names.
    selecting.retain(|word| !word.contains('=') && !word.ends_with('-'));
    if manifests::given(matches) {
        if !selecting.is_empty() {
            return Err(Error::message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let mut found = Vec::new();
        for object in manifests::read(context, matches).await? {
            found.push(of_object(context, &object).await?);
        }
        return Ok(found);
    }
    from_words(context, &selecting, all).await
}

/// As [`targets`], with selectors and `--all` turned into names.
///
/// # Errors
/// As [`targets`]; a type without a name, a selector or `--all`.
pub async fn each(context: &Context, matches: &ArgMatches) -> Result<Vec<Target>> {
    each_of(context, matches, targets(context, matches).await?).await
}

/// As [`each`], of targets that are known already.
///
/// # Errors
/// As [`each`].
pub async fn each_of(context: &Context, matches: &ArgMatches, targets: Vec<Target>) -> Result<Vec<Target>> {
    let (labels, fields) = (text(matches, "selector"), text(matches, "field-selector"));
    let mut found = Vec::new();
    for target in targets {
        if target.name.is_some() {
            found.push(target);
            continue;
        }
        if labels.is_empty() && fields.is_empty() && !flag(matches, "all") {
            return Err(Error::message("resource(s) were provided, but no name was specified"));
        }
        let query = [("labelSelector", labels.as_str()), ("fieldSelector", fields.as_str())];
        let list = context.api().await?.get(&crate::http::with_query(&target.path(), &query)).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            found.push(Target {
                name: item["metadata"]["name"].as_str().map(str::to_owned),
                namespace: item["metadata"]["namespace"].as_str().map(str::to_owned),
                ..target.clone()
            });
        }
    }
    Ok(found)
}

/// The target that a manifest describes.
///
/// # Errors
/// Its kind is unknown to the server, or its namespace is not the one asked for.
pub async fn of_object(context: &Context, object: &serde_json::Value) -> Result<Target> {
    let (api_version, kind) = manifests::type_of(object)?;
    let resource = context.mapper().await?.kind(&api_version, &kind)?.clone();
    let name = object["metadata"]["name"].as_str().map(str::to_owned);
    let own = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let namespace = if resource.namespaced {
        if let (Some(own), Some(asked)) = (&own, &context.global.namespace)
            && own != asked
        {
            return Err(Error::message(format!(
                "the namespace from the provided object \"{own}\" does not match the namespace \"{asked}\". You must pass \
                 '--namespace={own}' to perform this operation."
            )));
        }
        Some(match own {
            Some(own) => own,
            None => context.namespace().await?,
        })
    } else {
        None
    };
    Ok(Target { resource, name, namespace })
}

/// # Errors
/// As [`targets`].
pub async fn from_words(context: &Context, words: &[String], all_namespaces: bool) -> Result<Vec<Target>> {
    let Some(first) = words.first() else {
        return Err(Error::Plain(
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported \
             resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed \
             description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples"
                .into(),
        ));
    };
    let mapper = context.mapper().await?;
    let namespace = if all_namespaces { None } else { Some(context.namespace().await?) };
    let target = |resource: &Resource, name: Option<&str>| Target {
        resource: resource.clone(),
        name: name.map(str::to_owned),
        namespace: namespace.clone().filter(|_| resource.namespaced),
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| pair(mapper, word).map(|(r, name)| target(r, Some(name)))).collect();
    }
    let names = words.get(1..).unwrap_or_default();
    if names.iter().any(String::is_empty) {
        return Err(Error::message("resource name may not be empty"));
    }
    let mut found = Vec::new();
    for word in first.split(',').filter(|w| !w.is_empty()) {
        let category = mapper.category(word);
        for other in mapper.also(word) {
            let other = other.qualified();
            eprintln!("Warning: short name \"{word}\" could also match lower priority resource {other}");
        }
        let resources = if category.is_empty() { vec![mapper.resource(word)?] } else { category };
        for resource in resources {
            if names.is_empty() {
                found.push(target(resource, None));
            }
            found.extend(names.iter().map(|name| target(resource, Some(name))));
        }
    }
    if all_namespaces && !names.is_empty() {
        return Err(Error::message("a resource cannot be retrieved by name across all namespaces"));
    }
    Ok(found)
}

/// What the official one says when neither words nor files select anything.
pub const NOTHING_SELECTED: &str = "You must provide one or more resources by argument or filename.\n\
    Example resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   \
    '<resource>'";

/// Whether there is anything in words or files; each command has its own way to say that there is not.
pub fn is_empty(matches: &ArgMatches) -> bool {
    let has_words = words(matches, "words").iter().any(|word| !word.contains('=') && !word.ends_with('-'));
    !has_words && !manifests::given(matches)
}

fn pair<'a>(mapper: &'a crate::mapper::Mapper, word: &'a str) -> Result<(&'a Resource, &'a str)> {
    let Some((kind, name)) = word.split_once('/') else {
        return Err(Error::message(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name \
             form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
        ));
    };
    if name.contains('/') {
        return Err(Error::message("arguments in resource/name form may not have more than one slash"));
    }
    if name.is_empty() || kind.is_empty() {
        return Err(Error::message("arguments in resource/name form must have a single resource and name"));
    }
    Ok((mapper.resource(kind)?, name))
}

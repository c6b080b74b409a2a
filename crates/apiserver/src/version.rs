//! What `/version` says: the Kubernetes version whose API this is, and our own behind the plus.

/// Target API version with our own as build metadata.
pub const GIT_VERSION: &str = concat!("v1.36.2+ferrokube.", env!("CARGO_PKG_VERSION"));

/// The body of `/version`, as `k8s.io/apimachinery/pkg/version.Info` is written.
pub fn json() -> Vec<u8> {
    let platform = format!("linux/{}", architecture());
    let info = serde_json::json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform,
    });
    crate::pretty::indent(info.to_string().as_bytes())
}

/// The same as Go prints the struct: what upstream's `--version=raw` says.
pub fn go_literal() -> String {
    let fields = [
        ("Major", "1"),
        ("Minor", "36"),
        ("EmulationMajor", ""),
        ("EmulationMinor", ""),
        ("MinCompatibilityMajor", ""),
        ("MinCompatibilityMinor", ""),
        ("GitVersion", GIT_VERSION),
        ("GitCommit", ""),
        ("GitTreeState", "clean"),
        ("BuildDate", "1970-01-01T00:00:00Z"),
        ("GoVersion", ""),
        ("Compiler", "rustc"),
        ("Platform", &format!("linux/{}", architecture())),
    ];
    let shown: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{value:?}")).collect();
    format!("version.Info{{{}}}", shown.join(", "))
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

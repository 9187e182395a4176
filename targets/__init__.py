"""Device profiles, one TOML file each; installed as the package `edgevqa.targets`."""

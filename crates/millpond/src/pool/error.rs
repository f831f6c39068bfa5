pub struct InvalidSetting;
impl InvalidSetting {
    pub(crate) fn new(_s: &'static str, _v: String, _a: impl Into<String>) -> Self {
        Self
    }
}

"""The verbs: one file, one public function each."""

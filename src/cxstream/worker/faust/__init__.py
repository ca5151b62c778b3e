"""Everything that imports Faust: the app, its transport, its web server, its sensor."""

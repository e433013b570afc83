-- The market of a person by the very rule of `processors/profiles/market.py`: a blank country is none, and any white space
-- around a name counts for nothing.

CREATE OR REPLACE VIEW {{database}}.v_person_markets {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    country LowCardinality(String) COMMENT 'The country that the person declared, else the one last seen, ISO 3166; empty: not known',
    language LowCardinality(String) COMMENT 'Language of the locale last seen, ISO 639; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets'
)
AS
WITH
    (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
    (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market,
    replaceRegexpAll(toString(p.declared_country), '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '') AS declared,
    replaceRegexpAll(toString(p.known_country), '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '') AS seen
SELECT
    profile_id,
    if(declared != '', transform(lowerUTF8(declared), lookup_names, lookup_codes, toString(p.declared_country)), transform(lowerUTF8(seen), lookup_names, lookup_codes, if(seen = '', '', toString(p.known_country)))) AS country,
    language,
    transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market
FROM (SELECT profile_id, declared_country, known_country, language FROM {{database}}.profiles FINAL) AS p
COMMENT 'Country, language and market of people, one row for each.';

"""Countries as producers write them: ISO 3166 with two letters, the common codes of three, and English names.

The region of a telephone number is read from an address. Segment's own example writes `"country": "USA"`. Who writes
another name or language has no region read, which is safe: a national number then joins nobody.
"""

from __future__ import annotations

from phonenumbers import SUPPORTED_REGIONS

_WRITTEN = """
AE=ARE=United Arab Emirates; AR=ARG=Argentina; AT=AUT=Austria=Österreich; AU=AUS=Australia; BE=BEL=Belgium;
BG=BGR=Bulgaria; BR=BRA=Brazil=Brasil; CA=CAN=Canada; CH=CHE=Switzerland=Schweiz; CL=CHL=Chile; CN=CHN=China;
CO=COL=Colombia; CZ=CZE=Czechia=Czech Republic; DE=DEU=Germany=Deutschland; DK=DNK=Denmark; EE=EST=Estonia;
EG=EGY=Egypt; ES=ESP=Spain=España; FI=FIN=Finland; FR=FRA=France; GB=GBR=United Kingdom=Great Britain=UK=U.K.;
GR=GRC=Greece; HK=HKG=Hong Kong; HR=HRV=Croatia; HU=HUN=Hungary; ID=IDN=Indonesia; IE=IRL=Ireland; IL=ISR=Israel;
IN=IND=India; IT=ITA=Italy=Italia; JP=JPN=Japan; KE=KEN=Kenya; KR=KOR=South Korea; LT=LTU=Lithuania; LU=LUX=Luxembourg;
LV=LVA=Latvia; MA=MAR=Morocco; MX=MEX=Mexico=México; MY=MYS=Malaysia; NG=NGA=Nigeria; NL=NLD=Netherlands;
NO=NOR=Norway; NZ=NZL=New Zealand; PE=PER=Peru; PH=PHL=Philippines; PK=PAK=Pakistan; PL=POL=Poland; PT=PRT=Portugal;
RO=ROU=Romania; RS=SRB=Serbia; SA=SAU=Saudi Arabia; SE=SWE=Sweden; SG=SGP=Singapore; SI=SVN=Slovenia; SK=SVK=Slovakia;
TH=Thailand; TR=TUR=Turkey=Türkiye; TW=TWN=Taiwan; UA=UKR=Ukraine; VN=VNM=Vietnam; ZA=ZAF=South Africa;
US=USA=United States=United States of America=U.S.=U.S.A.
"""

_REGION_OF = {region.lower(): region for region in sorted(SUPPORTED_REGIONS)} | {
    name.strip().lower(): names.split("=")[0].strip() for names in _WRITTEN.split(";") for name in names.split("=")[1:]
}


def region_of(country: str) -> str:
    """Return the region of a country, ISO 3166, in upper case; empty if it cannot be read or has no telephones."""
    return _REGION_OF.get(country.strip().lower(), "")


def country_names() -> dict[str, str]:
    """Return everything that `region_of` reads, in small letters, with the region that it is."""
    return dict(_REGION_OF)

"""How the page looks: three columns on a screen, one below the other when it is small or magnified."""

__all__ = ["CSS"]

CSS = """
html { overflow-y: auto; }
.page { display: flex; flex-direction: column; height: 100vh; font-size: 0.9rem; }
.top { position: sticky; top: 0; z-index: 10; display: flex; flex-wrap: wrap; gap: 0.3rem 1rem;
  align-items: center; padding: 0.5rem 1rem; background: #1d2530; }
.top h1 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
.use { margin-left: auto; padding: 0.15rem 0.8rem; border-radius: 1rem; background: #ffca3a; color: #1b1400;
  font-weight: 600; }
.synthetic { padding: 0.15rem 0.8rem; border-radius: 1rem; background: #d90073; color: #fff;
  font-weight: 700; }
.facts { display: flex; flex-wrap: wrap; padding: 0.3rem 1rem; background: #161c25; color: #cdd6e1; }
.facts span:not(:last-child)::after { content: "\\00b7"; margin: 0 0.6rem; }
.body { flex: 1; min-height: 0; display: grid; grid-template-columns: 280px minmax(0, 1fr) 340px; }
.controls, .reading { padding: 0.9rem 1rem; overflow-y: auto; }
.picture { display: flex; flex-direction: column; min-height: 0; }
.views { position: relative; display: flex; flex: 1; min-height: 0; background: #000; }
.views[aria-busy=true]::after { content: "Drawing ..."; position: absolute; bottom: 6px; right: 8px;
  z-index: 5; padding: 0.1rem 0.6rem; border-radius: 4px; background: #ffca3a; color: #1b1400;
  font-size: 0.85rem; animation: late 0.4s steps(1); }
@keyframes late { from { visibility: hidden; } }
#gone { position: fixed; inset: 0 0 auto; z-index: 100; padding: 0.6rem 1rem; background: #b00020;
  color: #fff; font-weight: 600; text-align: center; }
.legend { min-height: 4.2rem; padding: 0.3rem 1.5rem 0.2rem; background: #0c1016; }
.scale-title { font-size: 0.85rem; }
.bar { height: 14px; border: 1px solid #5b6877; }
.bar .hidden { height: 100%; background: repeating-linear-gradient(45deg, #0c1016 0 4px, #39434f 4px 6px); }
.marks { position: relative; height: 1.3rem; font-size: 0.8rem; }
.bar { position: relative; }
.bar .limit { position: absolute; bottom: -0.35rem; transform: translateX(-50%); color: #fff; line-height: 1;
  text-shadow: 0 0 2px #000, 0 0 2px #000, 0 0 3px #000; }
.marks span { position: absolute; transform: translateX(-50%); }
.views:focus-within { outline: 2px solid #6aa9ff; outline-offset: -2px; }
.about { margin: 0.25rem 0 0.8rem; font-size: 0.8rem; line-height: 1.3; color: #aeb9c6; }
.says { display: flex; justify-content: space-between; gap: 0.5rem; }
.slider { margin-bottom: 0.5rem; }
.slider .v-slider { margin: 0 10px; }
.controls .v-switch { margin-left: 10px; }
#segments { padding: 0; margin: 0.3rem 0 0.5rem; list-style: none; font-size: 0.8rem; }
#segments li { display: flex; gap: 0.4rem; margin-bottom: 0.2rem; }
#segments span:first-child { flex: none; width: 0.9rem; height: 0.9rem; margin-top: 0.1rem; }
#regions_text { font-size: 0.8rem; line-height: 1.3; white-space: pre-line; }
.head { position: sticky; top: 0; z-index: 10; }
.banner { padding: 0.45rem 1rem; font-weight: 600; }
.banner.untrusted { background: #b00020; color: #fff; }
.banner.ambiguous { background: #ffca3a; color: #1b1400; }
.banner.certain { background: #2e7d32; color: #fff; }
.controls h2 { font-size: 1rem; margin: 0.4rem 0; }
.poses { width: 100%; border-collapse: collapse; font-size: 0.8rem; }
.poses th, .poses td { padding: 0.3rem 0.1rem; text-align: right; border-bottom: 1px solid #3a4655; }
.poses td { white-space: nowrap; }
.poses tbody tr { cursor: pointer; }
.poses .chosen { background: #2a5a8c; }
.poses button { min-width: 1.5rem; padding: 0.1rem 0.3rem; border: 1px solid #6aa9ff; border-radius: 4px; }
.poses button:disabled { border-color: #5b6877; color: #5b6877; }
.below { margin-top: 0.6rem; }
.caption { position: absolute; top: 6px; left: 10px; color: #fff; font-size: 0.8rem;
  text-shadow: 0 0 3px #000; pointer-events: none; }
.caption.which { top: 54px; font-size: 0.95rem; font-weight: 700; }
.edge { position: absolute; color: #fff; font-size: 0.95rem; font-weight: 600; line-height: 1;
  text-shadow: 0 0 3px #000, 0 0 3px #000; pointer-events: none; }
.at-left, .at-right { top: 50%; transform: translateY(-50%); }
.at-top, .at-bottom { left: 50%; transform: translateX(-50%); }
.at-left { left: 6px; }
.at-right { right: 6px; }
.at-top { top: 78px; }
.at-bottom { bottom: 34px; }
.playing { display: flex; align-items: center; gap: 0.6rem; margin-bottom: 0.6rem; }
.playing .about { display: none; margin: 0; }
@media (prefers-reduced-motion: reduce) {
  .playing .v-btn { display: none; }
  .playing .about { display: inline; }
}
#values h3 { font-size: 0.9rem; margin: 0.6rem 0 0.2rem; }
#values ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: 0.1rem 1.4rem;
  padding-left: 1.8rem; font-size: 0.85rem; }
#values .chosen { color: #ffca3a; font-weight: 700; }
.fact { overflow-wrap: anywhere; margin-bottom: 0.2rem; }
.fit { position: absolute !important; top: 6px; left: 6px; }
.plane { position: absolute; top: 14px; left: 56px; color: #fff; text-shadow: 0 0 3px #000; }
.slices { position: absolute; top: 10px; left: 8.5rem; right: 8px; }
.reading h2 { font-size: 1rem; margin: 0 0 0.4rem; }
.reading .line { margin: 0 0 0.3rem; line-height: 1.4; }
.warning { margin-bottom: 0.5rem; padding: 0.5rem 0.7rem; border: 4px double #fff; background: #d90073;
  color: #fff; font-weight: 700; }
.warning::before { content: "⚠ "; font-size: 1.3rem; }
.reading table { width: 100%; border-collapse: collapse; }
.reading th, .reading td { padding: 0.2rem 0.3rem; text-align: left; border-bottom: 1px solid #3a4655; }
.reading th { font-weight: 600; color: #cdd6e1; }
.curve { display: block; width: 100%; max-width: 460px; }
.curve text { font-size: 12px; fill: #e6edf5; text-anchor: middle; }
.curve .note { font-size: 11px; fill: #aeb9c6; }
.curve .axis { stroke: #aeb9c6; }
.curve .line { fill: none; stroke: #8fc7dc; stroke-width: 2; }
.curve .inside { fill: #3f8fc4; fill-opacity: 0.45; }
.curve .median { stroke: #ffca3a; stroke-width: 2; }
.curve .threshold { stroke: #f1f7f0; stroke-width: 1.5; stroke-dasharray: 6 4; }
.curve .end { text-anchor: end; }
.curve .band { fill: #3f8fc4; fill-opacity: 0.45; }
.curve .point { fill: #ffca3a; }
.curve.withheld .band { fill: #d90073; fill-opacity: 0.25; }
#series { margin-top: 0.8rem; }
.curve.withheld .line { stroke: #ff6cb5; stroke-dasharray: 5 4; }
.curve.withheld .inside { fill: #d90073; fill-opacity: 0.25; }
.curve.withheld .median { stroke: #ff6cb5; stroke-dasharray: 2 3; }
.curve .stamp { font-size: 26px; font-weight: 700; fill: #ff9fce; }
@media (max-width: 1000px) {
  .page { height: auto; }
  .body { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  .picture { grid-column: 1 / -1; grid-row: 1; height: max(320px, 70vh); }
}
@media (max-width: 560px) {
  .body { grid-template-columns: minmax(0, 1fr); }
}
"""

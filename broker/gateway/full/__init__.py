"""The nation's full picture: drawn at home, from its own exact reports and from what it was sent.

The hub is not part of a nation: it draws from what the nation releases to it under the name `self`. Here the same code
(`broker.views`, `broker.fusion`) draws from the recorded intake itself. What the nation released to the hub comes down
again as its own copies; they are left out, so that nothing counts twice.

own      what a system reported, as a View takes it
frames   how the gateway and the drawing process speak
drawing  the process: records in, pictures out
keep     the gateway's side: feeds the process, keeps it alive, brings its pictures into the inbox

Rules:
* It never delays a warning: drawing is a process of its own that is nicer than others, and what it draws takes the way
  of any picture into the inbox and to the watches. It may be slow, stop or die, and the gateway goes on.
* A full picture has the nation's own code as origin and is never sealed or sent to anybody, the hub included.
* It is durable before it is shown. What it was drawn from is not kept in its order, so it cannot be recomputed byte by
  byte as the hub's pictures can (`vedette fusion verify` passes it over); what is believed follows from the set alone.
* Time is the gateway's clock, by whole seconds, so that it passes while the hub is away too.
* Off unless the settings say `full_picture = true`.
"""

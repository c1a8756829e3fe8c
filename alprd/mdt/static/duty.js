// Pause and resume, the canvass of an incident, the declaration of a stationary post.
const byId = (id) => document.getElementById(id);

export class Duty {
  constructor(post) {
    this.car = { session_open: true, incident: "" };
    const dialog = byId("canvassing");
    byId("pause").addEventListener("click", () =>
      post(this.car.session_open ? "/collection/pause" : "/collection/resume", {}));
    byId("canvass").addEventListener("click", () => {
      if (this.car.incident) post("/collection/canvass", { incident: "" });
      else dialog.showModal();
    });
    byId("canvass-back").addEventListener("click", () => dialog.close());
    byId("canvass-begin").addEventListener("click", async () => {
      const incident = byId("incident").value.trim();
      if (incident && await post("/collection/canvass", { incident })) dialog.close();
    });
    byId("incident").addEventListener("keydown", (event) => {
      if (event.key === "Enter") byId("canvass-begin").click();
    });
    byId("declare").addEventListener("click", () => post("/collection/post", {}));
  }

  show(car) {
    this.car = car;
    byId("pause").textContent = car.session_open ? "Pause" : "Resume";
    byId("canvass").textContent = car.incident ? `End canvass ${car.incident}` : "Canvass";
    byId("canvass").hidden = car.moving;
    byId("post").hidden = !car.post || car.moving;
    if (car.moving) for (const id of ["canvassing", "leaving"]) byId(id).close(); // no typing now
  }
}

import { start as startInside } from "./inside.js";
import { start as startPhone } from "./phone.js";

startInside();
startPhone();

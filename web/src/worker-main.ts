/** The script of a worker. */
import { serveJobs } from "./worker.js";

serveJobs();

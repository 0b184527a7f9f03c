import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const flask = "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  // For `npm run dev`: what isn't the page's is Flask's.
  server: { proxy: { "/count": flask, "/petiole": flask, "/socket.io": { target: flask, ws: true } } },
});

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// For `npm run dev`: what isn't the page's is Flask's, which sees the page's own origin.
const flask = { target: "http://127.0.0.1:8000", changeOrigin: false, ws: true };

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/count": flask, "/petiole": flask, "/socket.io": flask } },
});

#!/usr/bin/env bash
# Every figure of the bundled models once more, in one list. Results go to docs/results; "page" writes docs/benchmarks.md and
# the table of the README from them.
#
#   KODAK=… PHOTOS=… TRAIN=… ANCHORS=… tools/measure.sh [NAME …]     # no name: all of them, in this order
#
# KODAK: 24 PNG; PHOTOS: 12 photographs of two megapixels; TRAIN: training crops; ANCHORS: curves of other codecs.
set -euo pipefail
cd "$(dirname "$0")/.."
results=docs/results
rivals=avif-444,avif,jxl,avif-444-psnr,avif-psnr,webp,jpeg
metrics=psnr,ms-ssim,ssimulacra2,butteraugli

rivals_kodak() { # bytes and pictures of rivals do not change with our models
  tadan lab eval "$KODAK" --threads 1 -q 60 --effort 0 --against "$rivals" --points 6 --metrics "$metrics" --pictures 0 --out "$results/seen/kodak"
}
rivals_photos() {
  tadan lab eval "$PHOTOS" --threads 1 -q 60 --effort 0 --against "$rivals" --points 6 --metrics "$metrics" --pictures 0 --out "$results/seen/photos_2k"
}
curve_kodak() {
  tadan lab eval "$KODAK" --threads 1 -q 5,10,20,30,40,50,60,70,80,90 --against none --metrics "$metrics" --pictures 0 --out "$results/seen/kodak"
}
curve_photos() {
  tadan lab eval "$PHOTOS" --threads 1 -q 10,20,30,40,50,60,70,80 --against none --metrics "$metrics" --pictures 0 --out "$results/seen/photos_2k"
}
curve_psnr() { # of the model for squared error, also with all the effort there is
  tadan lab eval "$KODAK" --threads 1 --model photo-psnr -q 5,10,20,30,40,50,60,70,80,90 --against none --metrics "$metrics" --pictures 0 --out "$results/psnr"
  tadan lab eval "$KODAK" --threads 1 --model photo-psnr --effort 9 -q 10,20,30,40,50,60,70,80,90 --against none --metrics psnr,ms-ssim --pictures 0 --out "$results/psnr"
  (cd "$results/psnr" && rm -rf report.html bd-rates.json rate-distortion.* named-points.json codec-compare)
}
compare() { # FOLDER CURVE …: ours, then rivals, as far as they are there, and curves of others on Kodak; codes nothing
  local out=$results/$1 name drawn from=() given=()
  shift
  for name in "$@"; do
    if [ -e "$results/$name.json" ]; then from+=(--from "$results/$name.json"); fi
  done
  if [[ $1 != *photos_2k* ]]; then
    for name in heic-420-slow heic-444-slow vvenc-420-fast jpeg2000 published/hm published/vtm published/av1 \
      published/bpg_444_x265_ycbcr published/compressai-mbt2018-mean_mse_cpu published/compressai-mbt2018_mse_cpu \
      published/paper-elic2022_mse published/evc_EncS_DecS published/shallow-ntc_2-layer_syn; do
      given+=(--anchor "$ANCHORS/kodak/$name.json")
    done
  fi
  mkdir -p "$out"
  tadan lab eval "${from[@]}" "${given[@]}" --out "$out" | tee "$out/eval.txt"
  if [ ${#given[@]} -gt 0 ]; then # two dozen curves in one plot cannot be told apart
    drawn=$(mktemp -d)
    tadan lab eval "${from[@]}" --out "$drawn" > /dev/null
    cp "$drawn"/rate-distortion.* "$out"
    rm -r "$drawn"
  fi
  (cd "$out" && rm -rf report.html named-points.json codec-compare)
}
seen() { # their curves on a set of pictures
  local name
  for name in ${rivals//,/ }; do echo "seen/$1/$name"; done
}
compare_kodak() { compare seen/kodak seen/kodak/tadan $(seen kodak) seen/kodak/tadan-first; }
compare_photos() { compare seen/photos_2k seen/photos_2k/tadan $(seen photos_2k); }
compare_psnr() {
  compare psnr/default psnr/tadan-photo-psnr seen/kodak/tadan $(seen kodak) seen/kodak/tadan-first
  compare psnr/effort-9 psnr/tadan-photo-psnr-effort-9 psnr/tadan-photo-psnr $(seen kodak)
  rm "$results"/psnr/effort-9/rate-distortion.*
}
gallery() { # letters, faces, regular patterns, grain
  local place at=()
  for place in kodim08:600,220 kodim14:488,330 kodim20:225,205 kodim09:340,350 kodim04:160,330 kodim15:400,70 \
    kodim18:205,140 kodim07:190,150 kodim19:60,480 kodim05:200,320 kodim01:60,250 kodim24:430,300; do
    at+=(--at "$place")
  done
  tadan lab crops "$KODAK" -o "$results/seen/crops" -q 35 --threads 1 --against avif-444,jxl --metrics ssimulacra2,butteraugli "${at[@]}"
}
decoders() { tadan lab decoders "$KODAK" --threads 1 --out "$results/decoders-kodak.json"; }
effort() { tadan lab effort "$KODAK" --threads 2 --efforts 0,1,2,3,5,7,9 --limit 6 --out "$results/effort-kodak.json"; }
monotone() { tadan lab monotone "$KODAK" --threads 1 --effort 0 --step 9 --limit 6 --out "$results/monotone-kodak.json"; }
price() { tadan lab price "$KODAK" --schedule balanced --out "$results/price-kodak.json"; }
exactness() { tadan lab exactness "$KODAK" --out "$results/exactness-kodak.json"; }
guard() { tadan lab guard "$TRAIN/00" --limit 200 --threads 1 --out "$results/guard.json"; }
speed() { tadan lab speed "$KODAK/kodim19.png" --threads 1 --out "$results/speed-768x512.json"; }
race() {
  local folder
  folder=$(mktemp -d)
  cp "$KODAK/kodim19.png" "$folder"
  python -c 'import sys; from PIL import Image; Image.open(sys.argv[1]).crop((0, 100, 1920, 1180)).save(sys.argv[2])' \
    "$PHOTOS/casa-mila.webp" "$folder/casa-mila-1080p.png"
  tadan lab race "$folder" --repeat 5 --out "$results/race.json"
  rm -r "$folder"
}
throughput() { tadan lab throughput "$PHOTOS/casa-mila.webp" --seconds 4 --out "$results/throughput.json"; }
scale() {
  tadan lab scale "$PHOTOS" --megapixels 0.1,0.3,1,1.5,3,10,33,100 --quality 50 --threads 2 --out "$results/scale.json" --plot "$results/scale.png"
}
tiles() { tadan lab tiles "$PHOTOS" --threads 1 --tiles default,512,768,1024 --qualities 15,40,75 --effort 0 --out "$results/tiles.json"; }
damage() { tadan lab damage "$PHOTOS" --threads 1 --tile 256 --quality 50 --percent 1 --trials 5 --seed 1 --limit 4 --out "$results/damage.json"; }
page() { python tools/benchmark_page.py; }

neutral() { # results name no folder of one machine
  local name
  for name in KODAK PHOTOS TRAIN ANCHORS; do
    if [ -n "${!name:-}" ]; then
      { grep -rlF --include='*.json' --include='*.txt' "${!name}" "$results" || true; } | xargs -r sed -i "s#${!name}/*#$name/#g"
    fi
  done
}
trap neutral EXIT

all="rivals_kodak rivals_photos curve_kodak curve_photos curve_psnr compare_kodak compare_photos compare_psnr gallery decoders effort monotone
  price exactness guard speed race throughput scale tiles damage page"
for name in ${@:-$all}; do
  case " ${all//$'\n'/ } " in
    *" $name "*) ;;
    *) echo "measure.sh knows no $name; it knows:" $all >&2; exit 2 ;;
  esac
done
for name in ${@:-$all}; do
  echo "== $name"
  "$name"
done

#!/bin/sh
# A nightly job on a data bank, for cron: take in yesterday's events, keep the day, write counts and an audience.
#
#   nightly.sh BANK EVENTS_FOLDER OUTPUT_FOLDER [DAY]
#
# EVENTS_FOLDER has a file or folder a day, named by the day (2024-11-11.parquet or 2024-11-11/). The bank is created on the first run;
# adapt the columns below. Running the job again for a day does no harm: the batch is taken in once, and the audience gets one more version.
#
#   15 2 * * *  /srv/aipl/nightly.sh /srv/aipl/bank /srv/events /srv/aipl/out >> /var/log/aipl-nightly.log 2>&1
set -eu

bank=$1
events=$2
out=$3
day=${4:-$(date -d yesterday +%F)}
aipl=${AIPL:-aipl}
scope=${SCOPE:-Acme}

# A creation that was interrupted is done again; anything else at the path is refused.
if ! $aipl info "$bank" >/dev/null 2>&1; then
    $aipl create "$bank" --tz Asia/Shanghai --model databank \
        --consumer user --brand brand --behavior action --time at \
        --map pv=view --map fav=favorite --map cart=add_to_cart --map buy=purchase
fi

# A folder of the day, or its file. Another writer is given ten minutes to finish.
source=$events/$day
[ -d "$source" ] || source=$events/$day.parquet
$aipl ingest "$bank" "$source" --batch-id "$day" --wait 600
$aipl materialize "$bank" "$day" --wait 600

mkdir -p "$out"
$aipl snapshot "$bank" --as-of "$day" --out "$out/stages-$day.csv"
$aipl audience save "$bank" "loyal" --scope "$scope" --stage L --as-of "$day" --note "nightly $day" --wait 600
$aipl audience export "$bank" "loyal" --out "$out/loyal-$day.csv"

# Once a week, on Sunday: clean up, and prove every byte.
if [ "$(date -d "$day" +%u)" = 7 ]; then
    $aipl vacuum "$bank" --wait 600
    $aipl verify "$bank"
fi

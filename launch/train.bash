## The value of __TRAIN__ in the templates for clouds: lines that train one run on one machine.
mkdir -p "$HOME/scaling-launch"
cat > "$HOME/scaling-launch/"__RUN_ID__.yaml <<'END-OF-__RUN_ID__'
__CONFIG__
END-OF-__RUN_ID__
cd __FOLDER__
export SCALING_CACHE="$HOME/.cache/scaling"
__COMMAND__ train "$HOME/scaling-launch/"__RUN_ID__.yaml --out __SWEEP__/__RUN__

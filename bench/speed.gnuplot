# The picture of bench/speed.lua: a bar for each line, from its lowest to its highest value, and a mark where it should be.
# gnuplot -e "data='...'; picture='...'" bench/speed.gnuplot
set terminal svg size 1200,900 dynamic font "sans-serif,12"
set output picture
set datafile separator "\t"
set title "bulkjob beside others in one run: median, lowest to highest; the cross is what it should be"
set style fill solid 0.6
set boxwidth 0.6
set yrange [*:*] reverse
set xrange [0:*]
set grid x
set key off
set title offset -24,0
set lmargin 80
plot data using ($2/2):0:($2/2):(0.3):yticlabels(1) with boxxyerror linecolor rgb "#4080c0", \
     data using 2:0:3:4 with xerrorbars linecolor rgb "#204060" pointtype 0, \
     data using 5:0 with points linecolor rgb "#c04020" pointtype 2 linewidth 2
